//! Connections that break, brokers that are away: nothing is lost, and nobody is blamed for it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::AnsweredBy;
use it::{Rabbit, ShopError, counted, fast, number, order, send, wait_until};
use services::proxy::Trick;
use transactional_message::{Consumer, ExchangeKind, Message, MessageState, Messenger, RabbitMq, Settings};

use crate::World;

async fn send_orders(messenger: &Messenger, exchange: &str, ids: std::ops::Range<u64>) {
    let message = |id| Message::json(exchange, "order.paid", &order(id)).expect("encodes");
    join_all(ids.map(|id| send(messenger, message(id)))).await;
}

#[tokio::test]
async fn connections_that_break_under_load_lose_nothing() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, messenger) = through(&world, &rabbit, &fast()).await;
    for round in 0..10 {
        send_orders(&messenger, &rabbit.exchange, round * 100..(round + 1) * 100).await;
        // In the midst of it.
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        proxy.cut();
    }
    world.settled(&messenger).await;
    assert_eq!(messenger.stats().await.expect("counts").delivered, 1000);
    wait_until("all effects", async || world.all_effects().await == 1000).await;
    assert_eq!(world.effects_of_orders().await, (0..1000).collect::<Vec<_>>());
}

/// Waits until somebody has connected so many times more, let through or not.
async fn connects(proxy: &it::Proxy, times: usize) {
    let enough = proxy.callers() + times;
    wait_until("a connection to be tried again", async || proxy.callers() >= enough).await;
}

/// A messenger that publishes and consumes through a proxy.
async fn through(world: &World, rabbit: &Rabbit, settings: &Settings) -> (it::Proxy, Messenger) {
    let (proxy, url) = rabbit.proxy(true).await;
    let queue = rabbit.queue("books");
    let through = RabbitMq::new(url).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let consumer =
        Consumer::new(&queue, world.books.clone(), world.listener.clone()).bind(&rabbit.exchange, "#");
    let builder = world.builder().settings(*settings).rabbitmq(through).consumer(consumer);
    let messenger = World::start(builder).await;
    rabbit.is_consumed(&queue).await;
    (proxy, messenger)
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_lone_message_costs_it_nothing() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, messenger) = through(&world, &rabbit, &fast()).await;
    for order in 0..3 {
        // Nobody knows whether the broker has it.
        proxy.play("order.paid", Trick::CutReply(0));
        send_orders(&messenger, &rabbit.exchange, order..order + 1).await;
        world.settled(&messenger).await;
        assert!(proxy.was_played());
    }
    let delivered = messenger.admin().list(MessageState::Delivered, None, 10).await.expect("lists");
    assert_eq!(delivered.len(), 3);
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
    wait_until("all effects", async || world.all_effects().await == 3).await;
}

#[tokio::test]
async fn messages_that_end_the_connection_are_blamed_and_no_others() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let settings = fast().delivery_attempts(3);
    let (proxy, messenger) = through(&world, &rabbit, &settings).await;
    proxy.play("killer", Trick::CutEach);
    let killer =
        |id: u64| Message::bytes(&rabbit.exchange, "order.paid", "text/plain", "killer").business_key(id);
    tokio::join!(
        send_orders(&messenger, &rabbit.exchange, 0..100),
        join_all((0..3).map(|id| send(&messenger, killer(id)))),
        send_orders(&messenger, &rabbit.exchange, 100..200),
    );
    world.settled(&messenger).await;
    let dead = messenger.admin().list(MessageState::Dead, None, 10).await.expect("lists");
    assert_eq!(dead.len(), 3, "{dead:?}");
    assert!(dead.iter().all(|message| message.attempts == 3 && message.business_key.is_some()), "{dead:?}");
    let delivered = messenger.admin().list(MessageState::Delivered, None, 1000).await.expect("lists");
    assert_eq!(delivered.len(), 200);
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
    wait_until("all effects", async || world.all_effects().await == 200).await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_left_and_nobody_is_blamed() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    // Far more than a broker takes that is not silent.
    let settings = fast().publish_timeout(Duration::from_secs(5));
    let (proxy, messenger) = through(&world, &rabbit, &settings).await;
    send_orders(&messenger, &rabbit.exchange, 0..100).await;
    proxy.silence(true);
    send_orders(&messenger, &rabbit.exchange, 100..200).await;
    // Only then are those given up that were on their way.
    connects(&proxy, 1).await;
    wait_until("the second hundred to wait", async || {
        counted(&messenger).await.is_some_and(|stats| stats.confirmed >= 100)
    })
    .await;
    proxy.silence(false);
    let back = Instant::now();
    world.settled(&messenger).await;
    wait_until("all effects", async || world.all_effects().await == 200).await;
    eprintln!("a silent broker: 100 messages delivered {:.2?} after it, all booked", back.elapsed());
    assert_eq!(world.effects_of_orders().await, (0..200).collect::<Vec<_>>());
    let delivered = messenger.admin().list(MessageState::Delivered, None, 1000).await.expect("lists");
    assert_eq!(delivered.len(), 200);
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
}

#[tokio::test]
async fn a_broker_far_away_gets_everything_once() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, messenger) = through(&world, &rabbit, &fast()).await;
    proxy.delay(Duration::from_millis(20));
    for round in 0..5 {
        send_orders(&messenger, &rabbit.exchange, round * 100..(round + 1) * 100).await;
    }
    world.settled(&messenger).await;
    wait_until("all effects", async || world.all_effects().await == 500).await;
    assert_eq!(world.listener.orders(), (0..500).collect::<Vec<_>>(), "each once");
    let delivered = messenger.admin().list(MessageState::Delivered, None, 1000).await.expect("lists");
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
}

#[tokio::test]
async fn a_large_backlog_is_delivered_once_each() {
    const BACKLOG: u64 = 20_000;
    const OF_A_CALL: u64 = 200;
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("all");
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    let quiet = World::start(world.builder().settings(fast().deliver(false))).await;
    join_all((0..BACKLOG / OF_A_CALL).map(async |_| {
        let message = Message::json(&rabbit.exchange, "order.paid", &order(1)).expect("encodes");
        let messages = vec![message; usize::try_from(OF_A_CALL).expect("small")];
        let handler = AnsweredBy::Handler("it.handled".into());
        let ended: Result<(), ShopError> = quiet.call(it::call(handler, messages), async { Ok(()) }).await;
        ended.expect("ok");
    }))
    .await;
    world.count(&quiet, MessageState::Confirmed, BACKLOG).await;
    let began = Instant::now();
    let messenger = World::start(rabbit.with(world.builder())).await;
    let count = usize::try_from(BACKLOG).expect("small");
    let ids: HashSet<_> = rabbit.take(&queue, count).await.iter().map(it::Taken::id).collect();
    eprintln!("a backlog of {BACKLOG}: at RabbitMQ after {:.1?}", began.elapsed());
    assert_eq!(ids.len(), count, "each once: nothing broke");
    world.count(&messenger, MessageState::Delivered, BACKLOG).await;
    assert_eq!(rabbit.ready(&queue).await, Some(0));
}

#[tokio::test]
async fn a_broker_that_comes_late_gets_everything_and_no_attempt_is_spent() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, url) = rabbit.proxy(false).await;
    let queue = rabbit.queue("all");
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    let messenger = World::start(world.builder().rabbitmq(url)).await;
    send_orders(&messenger, &rabbit.exchange, 0..20).await;
    connects(&proxy, 2).await;
    world.count(&messenger, MessageState::Confirmed, 20).await;
    proxy.open(true);
    world.settled(&messenger).await;
    assert_eq!(rabbit.take(&queue, 20).await.len(), 20);
    let delivered = messenger.admin().list(MessageState::Delivered, None, 100).await.expect("lists");
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");

    // And the same again, for one that was there before.
    proxy.open(false);
    proxy.cut();
    send_orders(&messenger, &rabbit.exchange, 20..40).await;
    connects(&proxy, 2).await;
    proxy.open(true);
    world.settled(&messenger).await;
    assert!(rabbit.take(&queue, 20).await.len() >= 20);
}

#[tokio::test]
async fn a_broker_that_is_away_holds_up_no_shutdown() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (_proxy, url) = rabbit.proxy(false).await;
    let consumer =
        Consumer::new(rabbit.queue("books"), world.books.clone(), world.listener.clone()).bind("shop", "#");
    let messenger = World::start(world.builder().rabbitmq(url).consumer(consumer)).await;
    send_orders(&messenger, &rabbit.exchange, 0..5).await;
    assert!(messenger.shutdown(Duration::from_secs(5)).await, "in time");
    let later = World::start(world.builder()).await;
    assert_eq!(later.stats().await.expect("counts").confirmed, 5);
}

#[tokio::test]
async fn what_an_answer_confirms_where_the_broker_is_away_is_delivered_by_others() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (_proxy, url) = rabbit.proxy(false).await;
    let cut_off = World::start(world.builder().rabbitmq(url)).await;
    let other = world.messenger().await;
    world.commit_and_decline(&cut_off, 1).await;
    world.settled(&other).await;
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_queue_that_is_deleted_comes_again() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let consumer =
        Consumer::new(&queue, world.books.clone(), world.listener.clone()).bind(&rabbit.exchange, "#");
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    rabbit.delete(&queue).await;
    // Unroutable until the queue is there again.
    send_orders(&messenger, &rabbit.exchange, 0..5).await;
    wait_until("all effects", async || world.all_effects().await == 5).await;
    world.settled(&messenger).await;
}

#[tokio::test]
async fn while_the_broker_is_away_the_relay_holds_no_more_bytes_than_it_may() {
    let world = World::new().await;
    let settings = fast().body_limit(1000).relay_queue_bytes(1500);
    let nobody = RabbitMq::new("amqp://127.0.0.1:1/%2f");
    let messenger = World::start(world.builder().settings(settings).rabbitmq(nobody)).await;
    for _ in 0..20 {
        send(&messenger, Message::bytes("", "nowhere", "text/plain", "x".repeat(400))).await;
    }
    world.count(&messenger, MessageState::Confirmed, 20).await;
    let held = "SELECT count(*) FROM tm_message WHERE state = 1 AND held_by IS NOT NULL";
    assert_eq!(number(&world.store(), held).await, 3);
}
