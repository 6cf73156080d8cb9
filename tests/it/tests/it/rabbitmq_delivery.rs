//! Through a real RabbitMQ: what is published, what is told about what can't be, and to whom.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Order, Rabbit, listed, order, send, wait_until};
use transactional_message::{Consumer, Message, MessageInfo, MessageState, Messenger};

use crate::World;

fn to(exchange: &str, routing_key: &str, id: u64) -> Message {
    Message::json(exchange, routing_key, &order(id)).expect("encodes")
}

async fn send_all(messenger: &Messenger, messages: impl IntoIterator<Item = Message>) {
    join_all(messages.into_iter().map(|message| send(messenger, message))).await;
}

async fn list(messenger: &Messenger, state: MessageState) -> Vec<MessageInfo> {
    messenger.admin().list(state, None, 1000).await.expect("lists")
}

fn order_in(body: &[u8]) -> u64 {
    serde_json::from_slice::<Order>(body).expect("an order").id
}

#[tokio::test]
async fn a_message_gets_from_the_call_to_the_effect() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let consumer =
        Consumer::new(&queue, world.books.clone(), world.listener.clone()).bind(&rabbit.exchange, "order.#");
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    send_all(&messenger, (0..50).map(|id| to(&rabbit.exchange, "order.paid", id))).await;
    world.settled(&messenger).await;
    assert_eq!(messenger.stats().await.expect("counts").delivered, 50);
    wait_until("all effects", async || world.all_effects().await == 50).await;
    assert_eq!(world.effects_of_orders().await, (0..50).collect::<Vec<_>>());
    let heard = world.listener.heard();
    assert!(heard.iter().all(|heard| heard.routing_key == "order.paid" && heard.attempt == 1));
    rabbit.has(&queue, 0).await;
}

/// As a command does that runs from time to time.
#[tokio::test]
async fn a_process_that_ends_right_after_its_call_has_delivered() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("jobs");
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    for count in 1..=3 {
        let messenger = World::start(rabbit.with(world.builder())).await;
        send(&messenger, to(&rabbit.exchange, "job.done", count)).await;
        assert!(messenger.shutdown(Duration::from_mins(1)).await);
        rabbit.has(&queue, u32::try_from(count).expect("few")).await;
        let stats = world.builder().build().await.expect("builds").stats().await.expect("counts");
        assert_eq!((stats.delivered, stats.confirmed), (count, 0));
    }
}

#[tokio::test]
async fn any_client_sees_what_a_message_is() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("raw");
    let builder = world.builder().rabbitmq(rabbit.settings().app_id("shop"));
    let messenger = World::start(builder).await;
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    let message = to(&rabbit.exchange, "order.paid", 7)
        .business_key("key-7")
        .message_type("order.v1")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("tenant", "ünï")
        .header("x-tm-attempt", "99");
    send(&messenger, message).await;
    let taken = rabbit.take(&queue, 1).await.remove(0);
    world.settled(&messenger).await;
    assert_eq!(taken.id(), list(&messenger, MessageState::Delivered).await[0].id);
    assert_eq!(order_in(&taken.body), 7);
    let text = |property: &Option<lapin::types::ShortString>| property.as_ref().map(ToString::to_string);
    let properties = &taken.properties;
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!(text(properties.kind()).as_deref(), Some("order.v1"));
    assert_eq!(text(properties.app_id()).as_deref(), Some("shop"));
    assert_eq!(text(properties.correlation_id()).as_deref(), Some("key-7"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    let made = taken.id().as_uuid().get_timestamp().expect("a UUIDv7").to_unix().0;
    assert_eq!(*properties.timestamp(), Some(made));
    assert_eq!(taken.header("tenant").as_deref(), Some("ünï"));
    assert!(taken.header("traceparent").expect("passed on").starts_with("00-4bf92"));
    assert_eq!(taken.header("x-tm-publish-attempt").as_deref(), Some("1"));
    assert_eq!(taken.header("x-tm-attempt"), None, "ours are not anybody's to set");
}

#[tokio::test]
async fn what_is_unroutable_is_delivered_when_a_queue_appears() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let messenger = World::start(rabbit.with(world.builder())).await;
    send(&messenger, to(&rabbit.exchange, "order.paid", 1)).await;
    wait_until("it came back", async || {
        let confirmed = listed(&messenger, MessageState::Confirmed, 1).await;
        confirmed.iter().flatten().any(|message| message.attempts > 1)
    })
    .await;
    let reason = list(&messenger, MessageState::Confirmed).await.remove(0).reason.expect("a reason");
    for part in ["unroutable", rabbit.exchange.as_str(), "`order.paid`", "NO_ROUTE"] {
        assert!(reason.contains(part), "{reason}");
    }
    let queue = rabbit.queue("late");
    rabbit.bind(&queue, "order.*").await;
    assert_eq!(order_in(&rabbit.take(&queue, 1).await[0].body), 1);
    world.count(&messenger, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn among_hundreds_each_message_is_judged_for_itself() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let settings = it::fast().delivery_attempts(2);
    let messenger = World::start(rabbit.with(world.builder().settings(settings))).await;
    rabbit.declare_exchange().await;
    let queue = rabbit.queue("even");
    rabbit.bind(&queue, "even").await;
    let key = |id: u64| if id.is_multiple_of(2) { "even" } else { "odd" };
    send_all(&messenger, (0..600).map(|id| to(&rabbit.exchange, key(id), id))).await;
    world.settled(&messenger).await;
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.dead), (300, 300));
    let mut arrived: Vec<_> =
        rabbit.take(&queue, 300).await.iter().map(|taken| order_in(&taken.body)).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..300).map(|half| half * 2).collect::<Vec<_>>());
    assert!(
        list(&messenger, MessageState::Delivered).await.iter().all(|message| message.routing_key == "even")
    );
    for message in list(&messenger, MessageState::Dead).await {
        assert_eq!(message.routing_key, "odd");
    }
}

#[tokio::test]
async fn an_exchange_that_is_missing_concerns_its_own_messages_only() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let settings = it::fast().delivery_attempts(3);
    let messenger = World::start(rabbit.with(world.builder().settings(settings))).await;
    rabbit.declare_exchange().await;
    let queue = rabbit.queue("all");
    rabbit.bind(&queue, "#").await;
    let missing = rabbit.queue("nowhere");
    let exchange = |id: u64| if id.is_multiple_of(10) { &missing } else { &rabbit.exchange };
    send_all(&messenger, (0..300).map(|id| to(exchange(id), "x", id))).await;
    world.settled(&messenger).await;
    let delivered = list(&messenger, MessageState::Delivered).await;
    assert_eq!(delivered.len(), 270);
    assert!(delivered.iter().all(|message| message.attempts == 0), "nobody else was blamed");
    let dead = list(&messenger, MessageState::Dead).await;
    assert_eq!(dead.len(), 30);
    let reason = dead[0].reason.as_deref().expect("a reason");
    for part in [missing.as_str(), "does not exist", "RabbitMq::exchange"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(rabbit.take(&queue, 270).await.len(), 270);
}

#[tokio::test]
async fn an_exchange_that_is_deleted_and_comes_again_costs_nothing() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let messenger = World::start(rabbit.with(world.builder())).await;
    rabbit.declare_exchange().await;
    let queue = rabbit.queue("all");
    rabbit.bind(&queue, "#").await;
    send(&messenger, to(&rabbit.exchange, "x", 0)).await;
    world.settled(&messenger).await;
    rabbit.delete_exchange().await;
    send_all(&messenger, (1..100).map(|id| to(&rabbit.exchange, "x", id))).await;
    wait_until("they failed", async || {
        let waiting = listed(&messenger, MessageState::Confirmed, 1000).await;
        waiting
            .iter()
            .flatten()
            .any(|one| one.reason.as_deref().is_some_and(|reason| reason.contains("does not exist")))
    })
    .await;
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    world.settled(&messenger).await;
    assert_eq!(rabbit.take(&queue, 100).await.len(), 100);
}

/// As other tools read it: RabbitMQ makes application properties of AMQP 1.0 out of headers.
#[tokio::test]
async fn a_message_is_a_cloud_event_on_demand() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("events");
    let builder = world.builder().rabbitmq(rabbit.settings().cloud_events("/shop/payments"));
    let messenger = World::start(builder).await;
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    send(&messenger, to(&rabbit.exchange, "order.paid", 7).business_key("key-7").message_type("order.v1"))
        .await;
    let taken = rabbit.take(&queue, 1).await.remove(0);
    let attribute = |name: &str| taken.header(&format!("cloudEvents:{name}"));
    assert_eq!(attribute("specversion").as_deref(), Some("1.0"));
    assert_eq!(attribute("id"), Some(taken.id().to_string()));
    assert_eq!(attribute("source").as_deref(), Some("/shop/payments"));
    assert_eq!(attribute("type").as_deref(), Some("order.v1"));
    assert_eq!(attribute("subject").as_deref(), Some("key-7"));
    let time = attribute("time").expect("a time");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{time}");
    assert_eq!(order_in(&taken.body), 7, "the data is the body");
    // The routing key stands in for a type.
    send(&messenger, to(&rabbit.exchange, "order.paid", 8)).await;
    let taken = rabbit.take(&queue, 1).await.remove(0);
    assert_eq!(taken.header("cloudEvents:type").as_deref(), Some("order.paid"));
}

#[tokio::test]
async fn priority_expiry_and_the_end_of_a_delay_are_amqps() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("scheduled");
    let messenger = World::start(rabbit.with(world.builder())).await;
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    let (delay, hour) = (Duration::from_millis(50), Duration::from_hours(1));
    let message = to(&rabbit.exchange, "order.paid", 7).delay(delay).expires_in(hour).priority(6);
    send(&messenger, message).await;
    let taken = rabbit.take(&queue, 1).await.remove(0);
    let properties = &taken.properties;
    assert_eq!(*properties.priority(), Some(6));
    let expiration: u128 = properties.expiration().as_ref().expect("one").as_str().parse().expect("millis");
    assert!(expiration <= hour.as_millis() && expiration > hour.as_millis() / 2, "{expiration}");
    let due: u64 = taken.header("x-tm-due").expect("a time").parse().expect("millis");
    let (seconds, nanos) = taken.id().as_uuid().get_timestamp().expect("a UUIDv7").to_unix();
    assert!(Duration::from_millis(due) + Duration::from_secs(1) > Duration::new(seconds, nanos) + delay);
}

/// A queue that nobody empties: RabbitMQ takes what is late there to the dead letters.
#[tokio::test]
async fn what_expires_in_its_queue_goes_to_the_dead_letters() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (queue, others) = (rabbit.queue("late"), rabbit.queue("others"));
    let consumer = world.consumer_named(&queue, &world.listener).bind(&rabbit.exchange, "order.*");
    // Declares the queues, and is gone.
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    send(&messenger, to(&rabbit.exchange, "order.paid", 6)).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    assert!(messenger.shutdown(Duration::from_secs(30)).await);
    let messenger = World::start(rabbit.with(world.builder())).await;
    rabbit.bind(&others, "warm.*").await;
    send(&messenger, to(&rabbit.exchange, "warm.up", 1)).await;
    world.count(&messenger, MessageState::Delivered, 2).await;
    send(&messenger, to(&rabbit.exchange, "order.paid", 7).expires_in(Duration::from_secs(5))).await;
    world.count(&messenger, MessageState::Delivered, 3).await;
    rabbit.has(&format!("{queue}.dead"), 1).await;
    assert_eq!(world.all_effects().await, 1);
}

/// It came in time, and failed. Its next attempt would be too late.
#[tokio::test]
async fn what_expires_between_two_attempts_is_dead() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("late");
    world.listener.will(7, [it::Action::Fail, it::Action::Write]);
    let time = Duration::from_secs(5);
    let consumer = world.consumer_named(&queue, &world.listener).bind(&rabbit.exchange, "#");
    let consumer = consumer.retry_delays([time + Duration::from_secs(1)]);
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    send(&messenger, to(&rabbit.exchange, "order.paid", 7).expires_in(time)).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
    assert_eq!(dead.header("x-tm-reason").as_deref(), Some("it expired while it was tried again"));
    assert_eq!(world.all_effects().await, 0);
}

/// The consumer has forgotten everything as old as its id.
#[tokio::test]
async fn a_delay_beyond_the_inboxs_memory_is_no_reason_to_refuse_it_also_after_a_failure() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let retention = Duration::from_secs(5);
    world.listener.will(7, [it::Action::Fail, it::Action::Write]);
    let consumer = world.consumer_named(&rabbit.queue("slow"), &world.listener).bind(&rabbit.exchange, "#");
    let consumer = consumer.inbox_retention(retention).retry_delays([Duration::from_millis(50)]);
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    send(&messenger, to(&rabbit.exchange, "order.paid", 7).delay(retention + Duration::from_millis(500)))
        .await;
    wait_until("its effect", async || world.effects_of_orders().await == [7]).await;
    assert_eq!(world.listener.heard_of(7).len(), 2);
}
