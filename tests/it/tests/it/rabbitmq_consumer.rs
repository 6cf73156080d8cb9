//! Consumers of RabbitMQ's queues: attempts, pauses, dead letters, and an effect that happens once.

use std::time::{Duration, Instant};

use it::{Action, Delivery, Log, Rabbit, ScriptedConsumer, order, send, wait_until};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use services::proxy::Trick;
use sqlx::SqliteConnection;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Consumer, ExchangeKind, Message, MessageState, Messenger, RabbitMq, Received};
use uuid::Uuid;

use crate::World;

const SOON: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];

/// A consumer of everything that is sent to the test's exchange, which tries again soon.
fn consumer(world: &World, rabbit: &Rabbit, queue: &str, listener: &ScriptedConsumer) -> Consumer {
    Consumer::new(queue, world.books.clone(), listener.clone()).bind(&rabbit.exchange, "#").retry_delays(SOON)
}

/// A running messenger with that consumer at the queue.
async fn start(world: &World, rabbit: &Rabbit, queue: &str, attempts: u32) -> Messenger {
    let consumer = consumer(world, rabbit, queue, &world.listener).max_attempts(attempts);
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(queue).await;
    messenger
}

async fn pay(messenger: &Messenger, rabbit: &Rabbit, id: u64) {
    let message = Message::json(&rabbit.exchange, "order.paid", &order(id)).expect("encodes");
    send(messenger, message.business_key(id).header("tenant", "t")).await;
}

fn attempts(heard: &[Delivery]) -> Vec<u32> {
    heard.iter().map(|heard| heard.attempt).collect()
}

#[tokio::test]
async fn what_is_sent_before_the_consumer_is_connected_comes_to_it_all_the_same() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, url) = rabbit.proxy(true).await;
    rabbit.declare_exchange().await;
    // With another queue there, the broker finds nothing amiss.
    rabbit.bind(&rabbit.queue("others"), "#").await;
    proxy.play("consuming", Trick::KeepReply);
    let consumer = consumer(&world, &rabbit, &rabbit.queue("books"), &world.listener);
    let through = RabbitMq::new(url).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let messenger = World::start(world.builder().rabbitmq(through).consumer(consumer)).await;
    wait_until("the consumer's connection to be held up", async || proxy.was_played()).await;
    pay(&messenger, &rabbit, 1).await;
    world.count(&messenger, MessageState::Delivered, 1).await;
    proxy.release();
    wait_until("its effect", async || world.all_effects().await == 1).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}

#[tokio::test]
async fn what_nothing_will_help_is_dead_at_once() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    world.listener.will(1, [Action::Reject]);
    let messenger = start(&world, &rabbit, &queue, 5).await;
    pay(&messenger, &rabbit, 1).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await;
    assert_eq!(dead[0].header("x-tm-reason").as_deref(), Some("no such account"));
    assert_eq!(attempts(&world.listener.heard_of(1)), [1]);
}

/// In pauses of 50 and 100 ms, as often as it takes.
#[tokio::test]
async fn what_its_handler_wants_later_comes_later() {
    const PAUSE: Duration = Duration::from_millis(430);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    world.listener.will(1, [Action::RetryAfter(PAUSE), Action::Fail, Action::Write]);
    world.listener.will(2, [Action::RetryAfter(Duration::ZERO)]);
    let messenger = start(&world, &rabbit, &queue, 3).await;
    let began = Instant::now();
    pay(&messenger, &rabbit, 1).await;
    wait_until("the second attempt", async || world.listener.heard_of(1).len() >= 2).await;
    assert!(began.elapsed() >= PAUSE, "{:?}", began.elapsed());
    wait_until("its effect", async || world.effects_of_orders().await == [1]).await;
    assert_eq!(attempts(&world.listener.heard_of(1)), [1, 2, 3]);
    pay(&messenger, &rabbit, 2).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await;
    let reason = dead[0].header("x-tm-reason");
    assert_eq!(reason.as_deref(), Some("failed 3 times; the last time: no ink yet"));
    assert_eq!(dead[0].header("x-tm-wait"), None, "put back, it is tried at once");
}

#[tokio::test]
async fn what_failed_is_tried_again_and_has_one_effect() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let messenger = start(&world, &rabbit, &queue, 5).await;
    for (id, act) in [(1, Action::Fail), (2, Action::Panic), (3, Action::Swallow)] {
        world.listener.will(id, [act, act, act, Action::Write]);
        pay(&messenger, &rabbit, id).await;
    }
    wait_until("all effects", async || world.all_effects().await == 3).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 3]);
    for id in [1, 2, 3] {
        let heard = world.listener.heard_of(id);
        assert_eq!(attempts(&heard), [1, 2, 3, 4]);
        for one in &heard {
            // The way through the waiting queues leaves no trace.
            assert_eq!((one.id, one.routing_key.as_str()), (heard[0].id, "order.paid"));
            let (key, _, headers) = &one.properties;
            assert_eq!(key.as_deref(), Some(id.to_string().as_str()));
            assert_eq!(*headers, [("tenant".to_owned(), "t".to_owned())]);
        }
    }
    rabbit.has(&queue, 0).await;
    rabbit.has(&format!("{queue}.retry.50ms"), 0).await;
    rabbit.has(&format!("{queue}.retry.100ms"), 0).await;
    rabbit.has(&format!("{queue}.dead"), 0).await;
}

#[tokio::test]
async fn what_fails_for_ever_is_dead_with_the_reason_and_may_be_put_back() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let messenger = start(&world, &rabbit, &queue, 3).await;
    world.listener.will(1, [Action::Fail]);
    pay(&messenger, &rabbit, 1).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
    assert_eq!(attempts(&world.listener.heard()), [1, 2, 3]);
    assert_eq!(dead.id(), world.listener.heard()[0].id);
    for (name, value) in [
        ("x-tm-reason", "failed 3 times; the last time: no ink"),
        ("x-tm-queue", queue.as_str()),
        ("x-tm-attempt", "3"),
        ("x-tm-exchange", rabbit.exchange.as_str()),
        ("x-tm-routing-key", "order.paid"),
        ("tenant", "t"),
    ] {
        assert_eq!(dead.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(world.all_effects().await, 0);

    // A person moves it back, as tools do it: as it is, by the default exchange.
    world.listener.will(1, [Action::Fail, Action::Write]);
    rabbit.publish_to(&queue, &dead.body, dead.properties).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    assert_eq!(attempts(&world.listener.heard()), [1, 2, 3, 1, 2]);
}

async fn orders(_: &mut SqliteConnection, _: Received<it::Order>) -> Result<(), String> {
    Ok(())
}

#[tokio::test]
async fn what_nobody_can_read_or_recognise_is_dead_at_once() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("typed");
    let typed = Consumer::new(&queue, world.books.clone(), orders)
        .bind(&rabbit.exchange, "#")
        .undecodable_after(Duration::ZERO);
    let _messenger = World::start(rabbit.with(world.builder()).consumer(typed)).await;
    rabbit.is_consumed(&queue).await;
    let id = || BasicProperties::default().with_message_id(Uuid::now_v7().to_string().into());
    let old = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_600_000_000, 0)).to_string();
    let mut strange = FieldTable::default();
    strange.insert("x-tm-attempt".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Void])));
    strange.insert("x-delivery-count".into(), AMQPValue::LongString("many".into()));
    strange.insert("traceparent".into(), AMQPValue::Void);
    for (body, properties, expected) in [
        (&b"\xff\x00"[..], id(), "can't be decoded"),
        (b"{\"id\": \"s3cr3t\"}", id(), "can't be decoded"),
        (b"{}", BasicProperties::default(), "no `message_id`"),
        (b"{}", BasicProperties::default().with_message_id("7".into()), "not a UUID"),
        (b"{}", BasicProperties::default().with_message_id(old.into()), "could not be recognised"),
        (b"{}", id().with_headers(strange), "can't be decoded"),
    ] {
        rabbit.publish("x", body, properties).await;
        let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
        let reason = dead.header("x-tm-reason").expect("a reason");
        assert!(reason.contains(expected) && !reason.contains("s3cr3t"), "{reason}");
        assert_eq!((dead.body.as_slice(), dead.header("x-tm-attempt").as_deref()), (body, Some("1")));
    }
    // And the queue goes on.
    rabbit.publish("x", b"{\"id\": 1, \"note\": \"\"}", id()).await;
    rabbit.has(&queue, 0).await;
    rabbit.has(&format!("{queue}.dead"), 0).await;
}

#[tokio::test]
async fn two_queues_get_every_message_and_fail_for_themselves() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (books, audit) = (rabbit.queue("books"), rabbit.queue("audit"));
    let auditor = World::another_listener("audit");
    let builder = rabbit
        .with(world.builder())
        .consumer(consumer(&world, &rabbit, &books, &world.listener))
        .consumer(consumer(&world, &rabbit, &audit, &auditor));
    let messenger = World::start(builder).await;
    rabbit.is_consumed(&books).await;
    rabbit.is_consumed(&audit).await;
    auditor.will(1, [Action::Fail, Action::Panic, Action::Write]);
    for id in 1..20 {
        pay(&messenger, &rabbit, id).await;
    }
    wait_until("all effects", async || world.all_effects().await == 38).await;
    assert_eq!(world.effects_of_orders().await, (1..20).flat_map(|id| [id, id]).collect::<Vec<_>>());
    assert_eq!(attempts(&world.listener.heard_of(1)), [1], "done is done");
    assert_eq!(attempts(&auditor.heard_of(1)), [1, 2, 3]);
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_begun_and_leaves_the_rest_in_the_queue() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let slow = consumer(&world, &rabbit, &queue, &world.listener).concurrency(3);
    let messenger = World::start(rabbit.with(world.builder()).consumer(slow)).await;
    rabbit.is_consumed(&queue).await;
    for id in 0..10 {
        world.listener.will(id, [Action::Slow(Duration::from_millis(500))]);
        pay(&messenger, &rabbit, id).await;
    }
    wait_until("some are begun", async || !world.listener.heard().is_empty()).await;
    assert!(messenger.shutdown(Duration::from_secs(10)).await, "in time");
    let begun = world.listener.heard().len();
    assert!((1..=6).contains(&begun), "{begun}");
    assert_eq!(world.all_effects().await, i64::try_from(begun).expect("few"), "what was begun is done");
    // Nothing is unacknowledged, and nothing done is still there.
    rabbit.has(&queue, u32::try_from(10 - begun).expect("few")).await;

    world.listener.forget();
    let _again = start(&world, &rabbit, &queue, 5).await;
    wait_until("all effects", async || world.all_effects().await == 10).await;
    assert!(world.listener.heard().iter().all(|heard| heard.attempt == 1), "nothing was begun in vain");
}

/// What it has killed is found out by real deaths, in `tests/crash`.
#[tokio::test]
async fn what_was_in_hand_when_a_process_ended_is_blamed_for_nothing() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let stop = async |messenger: Messenger| {
        assert!(messenger.shutdown(Duration::from_secs(5)).await, "nothing to do");
    };
    stop(start(&world, &rabbit, &queue, 3).await).await;
    for id in [1, 2] {
        let properties = BasicProperties::default().with_message_id(Uuid::now_v7().to_string().into());
        let body = format!("{{\"id\": {id}, \"note\": \"\"}}");
        rabbit.publish("x", body.as_bytes(), properties).await;
    }
    // A process that takes a message and dies leaves nothing behind but the broker's count.
    for _ in 0..5 {
        rabbit.take_and_vanish(&queue).await;
    }
    let messenger = start(&world, &rabbit, &queue, 3).await;
    wait_until("both effects", async || world.all_effects().await == 2).await;
    assert_eq!(attempts(&world.listener.heard()), [1, 1]);
    rabbit.has(&queue, 0).await;
    stop(messenger).await;
    rabbit.has(&format!("{queue}.dead"), 0).await;
    let entered = it::number(&world.books, "SELECT count(*) FROM tm_inbox_entered").await;
    assert_eq!(entered, 0, "they came to an end");
}

/// What is counted against a message is what its process died over while it ran alone.
#[tokio::test]
async fn what_killed_its_process_alone_is_dead_without_being_tried_again() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let messenger = start(&world, &rabbit, &queue, 3).await;
    assert!(messenger.shutdown(Duration::from_secs(5)).await, "nothing to do");
    for (id, deaths) in [(1, 2), (2, 3)] {
        let message = Uuid::now_v7();
        let properties = BasicProperties::default().with_message_id(message.to_string().into());
        let body = format!("{{\"id\": {id}, \"note\": \"\"}}");
        rabbit.publish("x", body.as_bytes(), properties).await;
        rabbit.take_and_vanish(&queue).await;
        sqlx::query("INSERT INTO tm_inbox_entered VALUES (?, ?, ?, 4000000000000)")
            .bind(&queue)
            .bind(message)
            .bind(deaths)
            .execute(&world.books)
            .await
            .expect("inserts");
        let messenger = start(&world, &rabbit, &queue, 3).await;
        wait_until("it is handled or dead", async || {
            !world.listener.heard().is_empty() || rabbit.ready(&format!("{queue}.dead")).await == Some(1)
        })
        .await;
        assert!(messenger.shutdown(Duration::from_secs(5)).await, "nothing to do");
        assert_eq!(attempts(&world.listener.heard()), if deaths < 3 { vec![3] } else { vec![] });
        world.listener.forget();
    }
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
    let reason = dead.header("x-tm-reason").expect("a reason");
    assert!(reason.contains("the process ended 3 times") && reason.contains("nothing else"), "{reason}");
    let entered = it::number(&world.books, "SELECT count(*) FROM tm_inbox_entered").await;
    assert_eq!(entered, 0, "moved back, it begins anew");
}

#[tokio::test]
async fn a_handler_that_never_returns_is_ended_and_keeps_nobody_waiting() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let consumer = consumer(&world, &rabbit, &queue, &world.listener);
    let consumer = consumer.concurrency(2).max_attempts(2).handler_timeout(Duration::from_millis(300));
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    for id in [1000, 1001] {
        world.listener.will(id, [Action::Never]);
        pay(&messenger, &rabbit, id).await;
    }
    for id in 0..5 {
        pay(&messenger, &rabbit, id).await;
    }
    wait_until("the other effects", async || world.all_effects().await == 5).await;
    assert_eq!(world.effects_of_orders().await, [0, 1, 2, 3, 4]);
    for dead in rabbit.take(&format!("{queue}.dead"), 2).await {
        let reason = dead.header("x-tm-reason").expect("a reason");
        assert!(reason.contains("failed 2 times") && reason.contains("`handler_timeout`"), "{reason}");
    }
}

#[tokio::test]
async fn what_comes_again_while_it_is_being_handled_takes_no_second_connection() {
    let (log, _listening) = Log::listen(LevelFilter::DEBUG);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, url) = rabbit.proxy(true).await;
    let queue = rabbit.queue("books");
    let through = RabbitMq::new(url).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let consumer = consumer(&world, &rabbit, &queue, &world.listener);
    let messenger = World::start(world.builder().rabbitmq(through).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    world.listener.will(1, [Action::Slow(Duration::from_secs(5))]);
    pay(&messenger, &rabbit, 1).await;
    wait_until("it to be begun", async || !world.listener.heard().is_empty()).await;
    // The broker takes the message back, and delivers it again.
    proxy.cut();
    let again = || log.lines_with(&["a message was delivered again, and is still being handled"]);
    wait_until("it to come again", async || !again().is_empty()).await;
    let busy = world.books.size() as usize - world.books.num_idle();
    assert_eq!((busy, world.listener.heard().len()), (1, 1));
    wait_until("its effect", async || world.all_effects().await == 1).await;
    rabbit.has(&queue, 0).await;
    assert_eq!(world.listener.heard().len(), 1, "its effect had happened");
}

#[tokio::test]
async fn a_consumers_database_that_is_away_costs_no_attempts() {
    let (log, _listening) = Log::listen(LevelFilter::DEBUG);
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let messenger = start(&world, &rabbit, &queue, 1).await;
    let away = "ALTER TABLE tm_inbox RENAME TO away";
    sqlx::raw_sql(away).execute(&world.books).await.expect("renames");
    pay(&messenger, &rabbit, 1).await;
    world.settled(&messenger).await;
    let in_vain = || log.lines_with(&["a message could not be tried, and waits"]).len();
    wait_until("it to be tried in vain, and again", async || in_vain() >= 2).await;
    assert!(world.listener.heard().is_empty());
    sqlx::raw_sql("ALTER TABLE away RENAME TO tm_inbox").execute(&world.books).await.expect("renames");
    wait_until("its effect", async || world.all_effects().await == 1).await;
    assert_eq!(attempts(&world.listener.heard()), [1]);
    rabbit.has(&format!("{queue}.dead"), 0).await;
}

#[tokio::test]
async fn a_process_that_does_not_deliver_may_consume() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let settings = it::fast().deliver(false);
    let consumer = consumer(&world, &rabbit, &queue, &world.listener).max_attempts(2);
    let builder = rabbit.with(world.builder_on("other.db").settings(settings)).consumer(consumer);
    let _consuming = World::start(builder).await;
    rabbit.is_consumed(&queue).await;
    let delivering = World::start(rabbit.with(world.builder())).await;
    // Failing needs a publisher, too.
    world.listener.will(1, [Action::Fail, Action::Write]);
    pay(&delivering, &rabbit, 1).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    assert_eq!(attempts(&world.listener.heard()), [1, 2]);
}
