//! A consumer's queues over the years: looked at, of an earlier version, with bindings that nobody wants any more, with
//! dead letters that RabbitMQ made itself, and between two versions of a program.

use std::time::Duration;

use it::{Action, Log, Rabbit, ScriptedConsumer, order, send, wait_until};
use lapin::BasicProperties;
use lapin::types::AMQPValue;
use sqlx::SqliteConnection;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Consumer, Message, MessageState, Messenger, Received};
use uuid::Uuid;

use crate::World;

const SOON: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];
const LIMIT: AMQPValue = AMQPValue::LongLongInt(1_000_000_000);

fn consumer(world: &World, queue: &str, listener: &ScriptedConsumer) -> Consumer {
    Consumer::new(queue, world.books.clone(), listener.clone()).retry_delays(SOON)
}

async fn start(world: &World, rabbit: &Rabbit, consumer: Consumer, queue: &str) -> Messenger {
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(queue).await;
    messenger
}

async fn stop(messenger: Messenger) {
    assert!(messenger.shutdown(Duration::from_secs(5)).await, "in time");
}

async fn pay(messenger: &Messenger, exchange: &str, key: &str, id: u64) {
    send(messenger, Message::json(exchange, key, &order(id)).expect("encodes")).await;
}

fn stranger() -> BasicProperties {
    BasicProperties::default().with_message_id(Uuid::now_v7().to_string().into())
}

fn body(id: u64) -> Vec<u8> {
    serde_json::to_vec(&order(id)).expect("encodes")
}

type Arguments = Vec<(&'static str, AMQPValue)>;

/// The arguments of a consumer's main queue and of its dead letters, before there was a limit.
fn earlier(dead: &str) -> (Arguments, Arguments) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let main = vec![
        ("x-queue-type", text("quorum")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(dead)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ];
    (main, vec![("x-queue-type", text("quorum"))])
}

#[tokio::test]
async fn a_dead_letter_may_be_looked_at_any_number_of_times_and_begins_anew() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let dead = format!("{queue}.dead");
    let consumer = consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "#").max_attempts(2);
    let messenger = start(&world, &rabbit, consumer, &queue).await;
    world.listener.will(1, [Action::Fail, Action::Fail, Action::Write]);
    pay(&messenger, &rabbit.exchange, "order.paid", 1).await;
    rabbit.has(&dead, 1).await;
    rabbit.look_at(&dead, 25).await;
    rabbit.has(&dead, 1).await;
    // As a shovel moves it: with all the headers that the looks have left.
    let letter = rabbit.take(&dead, 1).await.remove(0);
    rabbit.publish_to(&queue, &letter.body, letter.properties).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    let heard = world.listener.heard();
    assert_eq!(heard.iter().map(|heard| heard.attempt).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(heard.iter().all(|heard| heard.routing_key == "order.paid"));
    // The same limit, or it would be refused.
    let (mut main, mut letters) = earlier(&dead);
    main.push(("x-delivery-limit", LIMIT));
    letters.extend([("x-overflow", main[4].1.clone()), ("x-delivery-limit", LIMIT)]);
    rabbit.declare(&queue, &main).await.expect("the queue has the limit");
    rabbit.declare(&dead, &letters).await.expect("the dead letters have the limit");
}

#[tokio::test]
async fn what_was_only_in_hand_when_processes_died_is_not_blamed() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let wanted = || consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "#").max_attempts(3);
    stop(start(&world, &rabbit, wanted(), &queue).await).await;
    rabbit.publish("x", &body(1), stranger()).await;
    // More often than RabbitMQ 4 hands a message out by itself.
    for _ in 0..25 {
        rabbit.take_and_vanish(&queue).await;
    }
    let _messenger = start(&world, &rabbit, wanted(), &queue).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    assert_eq!(world.listener.heard()[0].attempt, 1);
    rabbit.has(&format!("{queue}.dead"), 0).await;
}

#[tokio::test]
async fn queues_of_an_earlier_version_are_taken_as_they_are_and_the_policy_is_named() {
    let (log, _listening) = Log::listen(LevelFilter::WARN);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let dead = format!("{queue}.dead");
    let (main, letters) = earlier(&dead);
    rabbit.declare(&dead, &letters).await.expect("declares");
    rabbit.declare(&queue, &main).await.expect("declares");
    let wanted = || consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "#");
    let messenger = start(&world, &rabbit, wanted(), &queue).await;
    pay(&messenger, &rabbit.exchange, "order.paid", 1).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    for name in [&queue, &dead] {
        let lines = log.lines_with(&[&format!("queue=\"{name}\"")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let pattern = name.replace('.', "\\\\.");
        for part in
            ["rabbitmqctl set_policy -p '/'", &format!("^{pattern}$"), "delivery-limit", "taken as it is"]
        {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
    }
    // A process of the earlier version still starts beside this one.
    rabbit.declare(&queue, &main).await.expect("nothing was changed");
    stop(messenger).await;

    // And a limit that somebody set by hand is theirs to set.
    let queue = rabbit.queue("by-hand");
    let (mut main, _) = earlier(&format!("{queue}.dead"));
    main.push(("x-delivery-limit", AMQPValue::LongInt(50)));
    rabbit.declare(&queue, &main).await.expect("declares");
    let consumer = consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "#");
    let _messenger = start(&world, &rabbit, consumer, &queue).await;
    let lines = log.lines_with(&[&format!("queue=\"{queue}\"")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("no policy can raise") && !lines[0].contains("set_policy"), "{lines:?}");
}

#[tokio::test]
async fn a_refused_binding_keeps_no_other_away_and_is_made_later() {
    let (log, _listening) = Log::listen(LevelFilter::ERROR);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let late = Rabbit::new().await;
    let consumer = consumer(&world, &queue, &world.listener)
        .bind(&late.exchange, "#")
        .bind(rabbit.queue("nowhere"), "#")
        .bind(&rabbit.exchange, "#");
    let messenger = start(&world, &rabbit, consumer, &queue).await;
    pay(&messenger, &rabbit.exchange, "x", 1).await;
    wait_until("the effect of what is bound", async || world.all_effects().await == 1).await;
    for missing in [&late.exchange, &rabbit.queue("nowhere")] {
        let lines = log.lines_with(&[&format!("exchange=\"{missing}\"")]);
        assert_eq!(lines.len(), 1, "told once: {lines:?}");
        assert!(lines[0].contains(&queue) && lines[0].contains("does not exist"), "{lines:?}");
    }
    late.declare_exchange().await;
    pay(&messenger, &late.exchange, "x", 2).await;
    wait_until("the effect of what is bound later", async || world.all_effects().await == 2).await;
}

#[tokio::test]
async fn a_binding_of_an_earlier_version_is_named_once() {
    let (log, _listening) = Log::listen(LevelFilter::WARN);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let consumer = consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "order.paid");
    let messenger = start(&world, &rabbit, consumer, &queue).await;
    rabbit.bind_existing(&queue, "order.*").await;
    for (id, key) in [(1, "order.paid"), (2, "order.refunded"), (3, "order.refunded"), (4, "order.lost")] {
        pay(&messenger, &rabbit.exchange, key, id).await;
    }
    wait_until("all effects", async || world.all_effects().await == 4).await;
    let lines = log.lines_with(&["no binding of this program"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for key in ["order.refunded", "order.lost"] {
        let line = lines.iter().find(|line| line.contains(key)).expect("named");
        for part in [&queue, &rabbit.exchange, "rabbitmqctl list_bindings", "delete binding source="] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[tokio::test]
async fn what_rabbitmq_dead_letters_itself_is_noticed_and_begins_anew_where_it_was_sent() {
    let (log, _listening) = Log::listen(LevelFilter::WARN);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let dead = format!("{queue}.dead");
    let consumer = consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "#").concurrency(1);
    let messenger = start(&world, &rabbit, consumer, &queue).await;
    world.listener.will(1, [Action::Slow(Duration::from_secs(1))]);
    pay(&messenger, &rabbit.exchange, "order.paid", 1).await;
    wait_until("the consumer to be busy", async || !world.listener.heard().is_empty()).await;
    // In the queue behind it, it expires.
    rabbit.publish("order.late", &body(2), stranger().with_expiration("1".into())).await;
    rabbit.has(&dead, 1).await;
    wait_until("a warning", async || {
        let lines = log.lines_with(&["dead letters came that this process did not put there"]);
        lines.iter().any(|line| line.contains(&dead) && line.contains("unexplained=1"))
    })
    .await;
    let letter = rabbit.take(&dead, 1).await.remove(0);
    assert_eq!(letter.header("x-tm-reason"), None);
    rabbit.publish_to(&queue, &letter.body, letter.properties).await;
    wait_until("its effect", async || world.all_effects().await == 2).await;
    let heard = world.listener.heard_of(2).remove(0);
    assert_eq!((heard.attempt, heard.routing_key.as_str()), (1, "order.late"));
}

async fn orders(_: &mut SqliteConnection, _: Received<it::Order>) -> Result<(), String> {
    Ok(())
}

#[tokio::test]
async fn what_one_version_cannot_read_another_one_can() {
    let (log, _listening) = Log::listen(LevelFilter::WARN);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let old =
        Consumer::new(&queue, world.books.clone(), orders).bind(&rabbit.exchange, "#").retry_delays(SOON);
    let _old = World::start(rabbit.with(world.builder_on("old.db")).consumer(old)).await;
    rabbit.is_consumed(&queue).await;
    for id in 0..10 {
        rabbit.publish("x", format!("{{\"new\": {id}}}").as_bytes(), stranger()).await;
    }
    wait_until("the old one to see all", async || log.lines_with(&["can't read a message"]).len() == 10)
        .await;
    let new = consumer(&world, &queue, &world.listener).bind(&rabbit.exchange, "#").max_attempts(1);
    let messenger = start(&world, &rabbit, new, &queue).await;
    for id in 10..20 {
        let message = Message::bytes(&rabbit.exchange, "x", "application/json", format!("{{\"new\": {id}}}"));
        send(&messenger, message).await;
    }
    wait_until("all effects", async || world.all_effects().await == 20).await;
    world.count(&messenger, MessageState::Delivered, 10).await;
    let heard = world.listener.heard();
    assert!(heard.iter().all(|heard| heard.attempt == 1 && heard.routing_key == "x"), "{heard:?}");
    rabbit.has(&format!("{queue}.dead"), 0).await;
}

#[tokio::test]
async fn what_no_version_can_read_is_dead_in_the_end() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let typed = Consumer::new(&queue, world.books.clone(), orders)
        .bind(&rabbit.exchange, "#")
        .retry_delays(SOON)
        .undecodable_after(Duration::from_millis(300));
    let _messenger = start(&world, &rabbit, typed, &queue).await;
    rabbit.publish("x", b"?", stranger()).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
    let reason = dead.header("x-tm-reason").expect("a reason");
    assert!(reason.contains("can't be decoded") && reason.contains("nobody could for 300ms"), "{reason}");
    assert_eq!(dead.header("x-tm-attempt").as_deref(), Some("1"));
    assert_eq!(dead.header("x-tm-undecodable-since"), None, "put back, it begins anew");
}
