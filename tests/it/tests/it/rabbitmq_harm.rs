//! What a broker does to its publishers when it is in trouble, or when a message is: an alarm that
//! blocks, a full queue that refuses, a body that is too large, a topic that is forbidden; and to its consumers, when a
//! handler takes too long. On a broker of their own.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Action, Log, listed, order, send, wait_until};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{
    Consumer, ExchangeKind, Message, MessageInfo, MessageState, Messenger, RabbitMq,
};

use crate::World;

const EXCHANGE: &str = "orders";

async fn broker() -> services::rabbitmq::Server {
    services::rabbitmq::start().await.expect("RabbitMQ starts")
}

/// A messenger that publishes to a broker.
async fn publishing(world: &World, broker: &services::rabbitmq::Server) -> Messenger {
    publishing_often(world, broker, 30).await
}

/// The same, with so many attempts for each message.
async fn publishing_often(
    world: &World,
    broker: &services::rabbitmq::Server,
    delivery_attempts: u32,
) -> Messenger {
    let rabbitmq = RabbitMq::new(broker.url()).exchange(EXCHANGE, ExchangeKind::Topic);
    let settings = it::fast().delivery_attempts(delivery_attempts);
    World::start(world.builder().settings(settings).rabbitmq(rabbitmq)).await
}

/// A queue that takes what is sent with `key`.
async fn queue(broker: &services::rabbitmq::Server, key: &str, arguments: FieldTable) {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(broker.url(), properties).await.expect("connects");
    let channel = connection.create_channel().await.expect("opens");
    let topic = lapin::ExchangeKind::Topic;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), topic, durable, FieldTable::default()).await.expect("declares");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(key.into(), durable, arguments).await.expect("declares");
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(key.into(), EXCHANGE.into(), key.into(), options, none).await.expect("binds");
    connection.close(200, "done".into()).await.expect("closes");
}

async fn send_orders(messenger: &Messenger, key: &str, ids: std::ops::Range<u64>) {
    let message = |id| Message::json(EXCHANGE, key, &order(id)).expect("encodes");
    join_all(ids.map(|id| send(messenger, message(id)))).await;
}

async fn in_state(messenger: &Messenger, state: MessageState) -> Vec<MessageInfo> {
    messenger.admin().list(state, None, 1000).await.expect("lists")
}

#[tokio::test]
async fn a_broker_with_an_alarm_is_waited_for_and_no_attempt_is_spent() {
    let (world, broker) = (World::new().await, broker().await);
    let messenger = publishing(&world, &broker).await;
    queue(&broker, "paid", FieldTable::default()).await;
    broker.alarm(true).await.expect("raises the alarm");
    // The broker blocks a connection when something is published on it.
    send_orders(&messenger, "paid", 0..100).await;
    wait_until("a blocked connection", async || {
        broker.ctl(["list_connections", "state"]).await.expect("lists").contains("blocked")
    })
    .await;
    send_orders(&messenger, "paid", 100..200).await;
    broker.alarm(false).await.expect("lifts the alarm");
    world.settled(&messenger).await;
    let delivered = in_state(&messenger, MessageState::Delivered).await;
    assert_eq!(delivered.len(), 200);
    // What was on its way at that moment may have been tried once, in vain.
    assert!(delivered.iter().all(|message| message.attempts <= 1), "{delivered:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_and_its_messages_are_tried_again() {
    let (log, _listening) = Log::listen(LevelFilter::INFO);
    let (world, broker) = (World::new().await, broker().await);
    // As many as it takes until the command below has made room.
    let messenger = publishing_often(&world, &broker, 10_000).await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(5));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    queue(&broker, "full", full).await;
    queue(&broker, "paid", FieldTable::default()).await;
    send_orders(&messenger, "full", 0..10).await;
    send_orders(&messenger, "paid", 10..20).await;
    // The neighbours, and what there was room for.
    world.count(&messenger, MessageState::Delivered, 15).await;
    wait_until("the reason to be known", async || {
        let waiting = listed(&messenger, MessageState::Confirmed, 1000).await.unwrap_or_default();
        let told = |one: &MessageInfo| one.reason.as_deref().is_some_and(|why| why.contains("refused"));
        waiting.len() == 5 && waiting.iter().all(told)
    })
    .await;
    // It might be the channel's fault: RabbitMQ 3.10 refuses everything for ever on one that began while there was no leader.
    let others = "publishing goes on on another channel";
    wait_until("another channel", async || !log.lines_with(&[others]).is_empty()).await;
    broker.ctl(["purge_queue", "full"]).await.expect("makes room");
    world.count(&messenger, MessageState::Delivered, 20).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_for_the_broker_costs_its_neighbours_nothing() {
    let world = World::new().await;
    let broker = services::rabbitmq::start_with("max_message_size = 1000").await.expect("RabbitMQ starts");
    let messenger = publishing(&world, &broker).await;
    queue(&broker, "paid", FieldTable::default()).await;
    let large = |id| Message::bytes(EXCHANGE, "paid", "text/plain", vec![b'x'; 2000]).business_key(id);
    tokio::join!(
        send_orders(&messenger, "paid", 0..100),
        join_all((0..3).map(|id| send(&messenger, large(id)))),
        send_orders(&messenger, "paid", 100..200),
    );
    world.settled(&messenger).await;
    let dead = in_state(&messenger, MessageState::Dead).await;
    assert_eq!(dead.len(), 3, "{dead:?}");
    for message in dead {
        let reason = message.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("PRECONDITION_FAILED"), "{reason}");
    }
    let delivered = in_state(&messenger, MessageState::Delivered).await;
    assert_eq!(delivered.len(), 200);
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
}

#[tokio::test]
async fn a_forbidden_topic_costs_its_neighbours_nothing() {
    let (world, broker) = (World::new().await, broker().await);
    let messenger = publishing(&world, &broker).await;
    queue(&broker, "paid", FieldTable::default()).await;
    broker
        .ctl(["set_topic_permissions", "-p", "/", services::USER, EXCHANGE, "^paid", ".*"])
        .await
        .expect("forbids");
    tokio::join!(
        send_orders(&messenger, "paid", 0..100),
        send_orders(&messenger, "secret", 100..103),
        send_orders(&messenger, "paid", 103..203),
    );
    world.settled(&messenger).await;
    let dead = in_state(&messenger, MessageState::Dead).await;
    assert_eq!(dead.len(), 3, "{dead:?}");
    for message in dead {
        let reason = message.reason.as_deref().unwrap_or_default();
        assert!(message.routing_key == "secret" && reason.contains("topic 'secret'"), "{message:?}");
    }
    let delivered = in_state(&messenger, MessageState::Delivered).await;
    assert_eq!(delivered.len(), 200);
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
}

#[tokio::test]
async fn a_handler_past_rabbitmqs_patience_is_not_told_as_a_deleted_queue() {
    let (log, _listening) = Log::listen(LevelFilter::WARN);
    let world = World::new().await;
    let broker = services::rabbitmq::start_with("consumer_timeout = 1000").await.expect("RabbitMQ starts");
    // How often RabbitMQ looks: once a minute otherwise.
    broker.ctl(["eval", "application:set_env(rabbit, channel_tick_interval, 500)."]).await.expect("sets");
    let rabbitmq = RabbitMq::new(broker.url()).exchange(EXCHANGE, ExchangeKind::Topic);
    let consumer = Consumer::new("books", world.books.clone(), world.listener.clone()).bind(EXCHANGE, "#");
    let messenger = World::start(world.builder().rabbitmq(rabbitmq).consumer(consumer.concurrency(1))).await;
    world.listener.will(1, [Action::Slow(Duration::from_secs(20)), Action::Write]);
    send_orders(&messenger, "paid", 1..2).await;
    // RabbitMQ 3.10 ends the channel, and says why; since 4.3 it ends the consumer, and does not.
    wait_until("the end of the consumer to be told", async || {
        !log.lines_with(&["timed out", "consumer_timeout"]).is_empty()
    })
    .await;
    assert_eq!(log.lines_with(&["was deleted"]), Vec::<String>::new());
    wait_until("its effect", async || world.all_effects().await == 1).await;
}
