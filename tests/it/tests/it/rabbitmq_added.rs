//! Consumers of RabbitMQ's queues that are added, or handle more or less, while the messenger runs.

use std::time::Duration;

use it::{Action, Dialect, Log, Rabbit, wait_until};
use sqlx::Sqlite;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Consumer, ExchangeKind, Message, Messenger, RabbitMq};

use crate::World;

/// A consumer whose first ten messages are begun, and never done.
fn consumer(world: &World, rabbit: &Rabbit, queue: &str) -> Consumer {
    for order in 0..10 {
        world.listener.will(order, [Action::Never]);
    }
    let consumer = Consumer::new(queue, world.books.clone(), world.listener.clone());
    consumer.bind(&rabbit.exchange, "#").concurrency(1)
}

async fn pay_ten(messenger: &Messenger, rabbit: &Rabbit) {
    for id in 0..10 {
        let message = Message::json(&rabbit.exchange, "order.paid", &it::order(id)).expect("encodes");
        it::send(messenger, message).await;
    }
}

#[tokio::test]
async fn more_is_taken_at_once_or_less_while_the_consumer_runs() {
    let (log, _guard) = Log::listen(LevelFilter::DEBUG);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let builder = rabbit.with(world.builder()).consumer(consumer(&world, &rabbit, &queue));
    let messenger = World::start(builder).await;
    rabbit.is_consumed(&queue).await;
    pay_ten(&messenger, &rabbit).await;
    rabbit.has(&queue, 9).await;
    // The one that is in hand does not count against what comes then.
    messenger.set_concurrency(&queue, 4).expect("there is one");
    rabbit.has(&queue, 5).await;
    let held = async |text: &str| {
        wait_until("nothing more to be taken", async || !log.lines_with(&[text]).is_empty()).await;
    };
    messenger.set_concurrency(&queue, 3).expect("there is one");
    held("held=5 wanted=3").await;
    rabbit.has(&queue, 5).await;
    messenger.set_concurrency(&queue, 8).expect("there is one");
    rabbit.has(&queue, 0).await;
    // Nor is anything lost when it stops then.
    messenger.set_concurrency(&queue, 2).expect("there is one");
    held("held=10 wanted=2").await;
    assert!(!messenger.shutdown(Duration::from_millis(100)).await, "they are never done");
    rabbit.has(&queue, 10).await;
}

#[tokio::test]
async fn what_changes_while_the_broker_is_away_holds_when_it_is_back() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (queue, added) = (rabbit.queue("books"), rabbit.queue("audit"));
    let (proxy, url) = rabbit.proxy(true).await;
    let through = RabbitMq::new(url).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let builder = world.builder().rabbitmq(through).consumer(consumer(&world, &rabbit, &queue));
    let messenger = World::start(builder).await;
    rabbit.is_consumed(&queue).await;
    proxy.open(false);
    proxy.cut();
    rabbit.is_not_consumed(&queue).await;

    messenger.set_concurrency(&queue, 4).expect("there is one");
    let auditor = World::another_listener("audit");
    // In another file: whoever is never done is SQLite's one writer.
    it::run(&world.shop, Sqlite::BOOKS).await.expect("creates");
    let audit = Consumer::new(&added, world.shop.clone(), auditor.clone()).bind(&rabbit.exchange, "#");
    audit.migrate().await.expect("creates its inbox");
    messenger.add_consumer(audit).await.expect("the broker is not asked");
    // And over other connections, too.
    for _ in 0..2 {
        proxy.open(true);
        rabbit.is_consumed(&added).await;
        rabbit.is_consumed(&queue).await;
        proxy.open(false);
        proxy.cut();
        rabbit.is_not_consumed(&added).await;
        rabbit.is_not_consumed(&queue).await;
    }
    proxy.open(true);
    pay_ten(&messenger, &rabbit).await;
    rabbit.has(&queue, 6).await;
    wait_until("the other consumer to have all", async || auditor.orders().len() == 10).await;
}
