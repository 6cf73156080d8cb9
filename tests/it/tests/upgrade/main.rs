//! From an old broker to a new one, without its data directory: what the old one has is drained where it is, and moved by
//! RabbitMQ's shovel. `tests/matrix` runs this: the broker of this system is the old one, that of a later release the new.

use std::time::Duration;

use it::{Action, Rabbit, SqliteFiles, fast, wait_until};
use services::rabbitmq::{self, Server};
use transactional_message::{ExchangeKind, MessageState, Messenger, RabbitMq, Settings};

type World = it::World<SqliteFiles>;

const EXCHANGE: &str = "shop";
const QUEUE: &str = "books";
/// How long a message waits for its second and last attempt: until it was moved.
const PAUSE: Duration = Duration::from_secs(20);

const DONE: u64 = 1;
const DEAD: u64 = 2;
const FAILED_ONCE: u64 = 3;
const NOT_TAKEN: std::ops::Range<u64> = 10..210;
const NOT_SENT: std::ops::Range<u64> = 210..230;

fn broker(url: &str) -> RabbitMq {
    RabbitMq::new(url).exchange(EXCHANGE, ExchangeKind::Topic)
}

async fn messenger(world: &World, url: &str, settings: &Settings, attempts: Option<u32>) -> Messenger {
    let builder = world.builder().settings(*settings).rabbitmq(broker(url));
    let consumer = |attempts| world.consumer().max_attempts(attempts).retry_delays([PAUSE]);
    World::start(attempts.into_iter().fold(builder, |builder, attempts| builder.consumer(consumer(attempts))))
        .await
}

async fn pay(world: &World, messenger: &Messenger, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        world.pay(messenger, id).await.expect("pays");
    }
}

async fn stop(messenger: Messenger) {
    messenger.shutdown(Duration::from_secs(20)).await;
}

/// Has the old broker move a queue to the new one.
async fn move_queue(old: &Server, new: &Rabbit, queue: &str) {
    let shovel = format!(
        r#"{{"src-protocol":"amqp091","src-uri":"{}","src-queue":"{queue}","dest-protocol":"amqp091","dest-uri":"{}",
             "dest-queue":"{queue}","ack-mode":"on-confirm"}}"#,
        old.url(),
        new.url
    );
    old.ctl(["set_parameter", "shovel", queue, &shovel]).await.expect("rabbitmq_shovel is enabled");
}

async fn count(old: &Server, queue: &str) -> u64 {
    let listed = old.ctl(["list_queues", "--no-table-headers", "name", "messages"]).await.expect("lists");
    let count = listed.lines().find_map(|line| line.strip_prefix(queue)?.trim().parse().ok());
    count.unwrap_or_default()
}

#[tokio::test]
async fn what_the_old_broker_has_takes_effect_once_by_way_of_the_new_one() {
    let (old, new) = (rabbitmq::start().await.expect("RabbitMQ of this system"), Rabbit::new().await);
    old.enable_plugin("rabbitmq_shovel").await.expect("is part of RabbitMQ");
    let world = World::new().await;
    let [retry, dead] = [format!("{QUEUE}.retry.20s"), format!("{QUEUE}.dead")];

    // A life on the old one, which leaves something in each of its queues, and in the store.
    world.listener.will(DEAD, [Action::Fail]);
    let strict = messenger(&world, old.url(), &fast(), Some(1)).await;
    pay(&world, &strict, [DONE, DEAD]).await;
    wait_until("a dead message", async || count(&old, &dead).await == 1).await;
    stop(strict).await;
    world.listener.will(FAILED_ONCE, [Action::Fail, Action::Write]);
    let lenient = messenger(&world, old.url(), &fast(), Some(2)).await;
    pay(&world, &lenient, [FAILED_ONCE]).await;
    wait_until("a message that waits", async || count(&old, &retry).await == 1).await;
    stop(lenient).await;
    let sending = messenger(&world, old.url(), &fast(), None).await;
    pay(&world, &sending, NOT_TAKEN).await;
    world.settled(&sending).await;
    stop(sending).await;
    let silent = messenger(&world, old.url(), &fast().deliver(false), None).await;
    pay(&world, &silent, NOT_SENT).await;
    world.count(&silent, MessageState::Confirmed, 20).await;
    stop(silent).await;

    // The new one sends and takes. The old one's queues are drained there, and moved here, both at once.
    let now = messenger(&world, &new.url, &fast(), Some(2)).await;
    let drain = messenger(&world.elsewhere(), old.url(), &fast().deliver(false), Some(2)).await;
    for queue in [QUEUE, &retry, &dead] {
        move_queue(&old, &new, queue).await;
    }
    pay(&world, &now, [300, 301]).await;
    world.settled(&now).await;
    let expected: Vec<_> =
        [DONE, FAILED_ONCE].into_iter().chain(NOT_TAKEN).chain(NOT_SENT).chain([300, 301]).collect();
    wait_until("every effect", async || world.effects_of_orders().await.len() >= expected.len()).await;
    assert_eq!(world.effects_of_orders().await, expected, "each once");
    new.has(&dead, 1).await;
    for queue in [QUEUE, &retry, &dead] {
        assert_eq!(count(&old, queue).await, 0, "{queue}");
    }
    let taken = new.take(&dead, 1).await;
    assert!(taken[0].header("x-tm-reason").is_some(), "a dead message keeps its headers: {taken:?}");
    stop(drain).await;
    stop(now).await;
}
