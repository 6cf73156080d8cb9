//! What people set up wrongly, and what they are told; and what they are never told.

use std::time::Duration;

use it::{ProcessLog, Rabbit, order, send, wait_until};
use transactional_message::{Consumer, ErrorKind, ExchangeKind, Message, MessageState, RabbitMq};

use crate::World;

/// Waits for a line of the log that has all these parts. Connections have threads of their own.
async fn says(log: &ProcessLog, parts: &[&str]) -> String {
    let line =
        || log.text().lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned);
    wait_until(&format!("a line of the log with {parts:?}"), async || line().is_some()).await;
    line().expect("just seen")
}

#[tokio::test]
async fn mistakes_are_told_when_the_messenger_is_built() {
    let world = World::new().await;
    let consumer = || Consumer::new("books", world.books.clone(), world.listener.clone());
    let plain = || world.builder().rabbitmq("amqp://shop:s3cr3t@localhost");
    for (builder, expected) in [
        (world.builder().rabbitmq("localhost:5672"), "`amqp://` or `amqps://`"),
        (world.builder().rabbitmq("amqp://shop:s3/cr3t@localhost"), "percent-encoded"),
        (world.builder().rabbitmq(RabbitMq::new("amqp://localhost").ca_certificate("x")), "`amqps://`"),
        (
            world.builder().rabbitmq(RabbitMq::new("amqp://h").exchange("", ExchangeKind::Topic)),
            "RabbitMQ has it",
        ),
        (world.builder().rabbitmq(RabbitMq::new("amqp://h").app_id("a".repeat(256))), "at most 255"),
        (plain().consumer(consumer().bind("", "shelf")), "routing key `books` only"),
        (plain().consumer(consumer()), "bound to nothing"),
        (plain().consumer(consumer().bind("shop", "#").retry_delays([])), "1 to 16 pauses"),
    ] {
        let error = builder.build().await.expect_err(expected);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = format!("{error}");
        assert!(text.contains(expected) && !text.contains("cr3t"), "{text}");
    }
    assert!(!format!("{:?}", plain()).contains("s3cr3t"));
}

#[tokio::test]
async fn a_refused_login_is_told_once_and_without_the_password() {
    let (log, rabbit, world) = (ProcessLog::of_everything(), Rabbit::new().await, World::new().await);
    let (proxy, through) = rabbit.proxy(true).await;
    let (_, host) = through.rsplit_once('@').expect("a login");
    let user = rabbit.queue("nobody");
    let url = format!("amqp://{user}:s3cr3t@{host}");
    let messenger = World::start(world.builder().rabbitmq(url)).await;
    says(log, &["ERROR", "ACCESS_REFUSED", "check user and password"]).await;
    wait_until("the third time that it is tried", async || proxy.callers() >= 3).await;
    let ours = |line: &&str| line.contains("ERROR transactional_message") && line.contains("ACCESS_REFUSED");
    assert_eq!(log.text().lines().filter(ours).count(), 1, "once is enough");
    assert!(!log.text().contains("s3cr3t"));
    messenger.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn tls_trusts_the_authority_that_it_is_given_and_no_other() {
    let (log, rabbit, world) = (ProcessLog::of_everything(), Rabbit::new().await, World::new().await);
    let variable = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("this test needs a RabbitMQ with TLS: set {name}"))
    };
    let (url, authority) = (variable("TM_TEST_AMQPS_URL"), variable("TM_TEST_AMQPS_CA"));
    let pem = std::fs::read_to_string(authority).expect("reads");
    rabbit.declare_exchange().await;
    let queue = rabbit.queue("all");
    rabbit.bind(&queue, "#").await;
    let distrustful = World::start(world.builder_on("other.db").rabbitmq(url.as_str())).await;
    says(log, &["ERROR", "invalid peer certificate", "RabbitMq::ca_certificate"]).await;
    distrustful.shutdown(Duration::from_secs(5)).await;
    let messenger = World::start(world.builder().rabbitmq(RabbitMq::new(url).ca_certificate(pem))).await;
    send(&messenger, Message::json(&rabbit.exchange, "x", &order(1)).expect("encodes")).await;
    assert_eq!(rabbit.take(&queue, 1).await.len(), 1);
}

#[tokio::test]
async fn a_returned_body_is_in_no_log() {
    const SECRET: &str = "s3cr3t-body";
    let (log, rabbit, world) = (ProcessLog::of_everything(), Rabbit::new().await, World::new().await);
    let messenger = World::start(rabbit.with(world.builder())).await;
    let message = Message::bytes(&rabbit.exchange, "nowhere", "text/plain", SECRET);
    send(&messenger, message.header("private", SECRET)).await;
    says(log, &["unroutable", &rabbit.exchange]).await;
    let text = log.text();
    let bytes = format!("{:?}", SECRET.as_bytes());
    let leak =
        text.lines().find(|line| line.contains(SECRET) || line.contains(bytes.trim_matches(['[', ']'])));
    assert_eq!(leak, None);
}

#[tokio::test]
async fn without_rights_everything_must_be_there() {
    let (log, rabbit, world) = (ProcessLog::of_everything(), Rabbit::new().await, World::new().await);
    let queue = rabbit.queue("books");
    let consumer = || {
        Consumer::new(&queue, world.books.clone(), world.listener.clone())
            .bind(&rabbit.exchange, "#")
            .retry_delays([Duration::from_millis(50)])
    };
    let passive =
        World::start(world.builder().rabbitmq(rabbit.settings().passive()).consumer(consumer())).await;
    says(log, &["ERROR", &rabbit.exchange, "does not exist", "RabbitMq::exchange"]).await;
    let missing = says(log, &["ERROR", &format!("the queue `{queue}.dead` does not exist")]).await;
    assert!(missing.contains("x-queue-type=quorum") && missing.contains("RabbitMq::passive"), "{missing}");
    assert_eq!(rabbit.ready(&queue).await, None, "nothing was declared");

    // Somebody with the rights declares them, and is gone.
    let owner = World::start(rabbit.with(world.builder_on("other.db")).consumer(consumer())).await;
    rabbit.is_consumed(&queue).await;
    owner.shutdown(Duration::from_secs(5)).await;
    let message = Message::json(&rabbit.exchange, "x", &order(1)).expect("encodes");
    send(&passive, message).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
    world.count(&passive, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn a_queue_or_an_exchange_of_another_kind_is_told() {
    let (log, rabbit, world) = (ProcessLog::of_everything(), Rabbit::new().await, World::new().await);
    let queue = rabbit.queue("classic");
    rabbit.declare_exchange().await;
    rabbit.bind(&queue, "#").await;
    let consumer =
        Consumer::new(&queue, world.books.clone(), world.listener.clone()).bind(&rabbit.exchange, "#");
    let other = RabbitMq::new(&rabbit.url).exchange(&rabbit.exchange, ExchangeKind::Fanout);
    let messenger = World::start(world.builder().rabbitmq(other).consumer(consumer)).await;
    says(log, &["ERROR", &queue, "not as it is needed", "PRECONDITION_FAILED"]).await;
    says(log, &["ERROR", &rabbit.exchange, "not as it is needed", "PRECONDITION_FAILED"]).await;
    // What can be delivered is delivered.
    send(&messenger, Message::json(&rabbit.exchange, "x", &order(1)).expect("encodes")).await;
    world.count(&messenger, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn a_binding_to_a_missing_exchange_is_told_and_made_later() {
    let (log, rabbit, world) = (ProcessLog::of_everything(), Rabbit::new().await, World::new().await);
    let queue = rabbit.queue("books");
    let consumer =
        Consumer::new(&queue, world.books.clone(), world.listener.clone()).bind(&rabbit.exchange, "#");
    let messenger = World::start(world.builder().rabbitmq(rabbit.url.as_str()).consumer(consumer)).await;
    says(log, &["ERROR", &queue, "a binding is refused", &rabbit.exchange, "does not exist"]).await;
    rabbit.declare_exchange().await;
    rabbit.is_consumed(&queue).await;
    send(&messenger, Message::json(&rabbit.exchange, "x", &order(1)).expect("encodes")).await;
    wait_until("its effect", async || world.all_effects().await == 1).await;
}

/// The answer that its consumer is there comes late, and by then nobody waits for it.
#[tokio::test]
async fn who_stops_while_its_consumer_begins_takes_no_messages() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (proxy, url) = rabbit.proxy(true).await;
    let queue = rabbit.queue("books");
    let through = RabbitMq::new(url).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let consumer =
        Consumer::new(&queue, world.books.clone(), world.listener.clone()).bind(&rabbit.exchange, "#");
    proxy.delay(Duration::from_millis(50));
    let messenger = World::start(world.builder().rabbitmq(through).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    assert!(messenger.shutdown(Duration::from_secs(20)).await, "in time");
    rabbit.is_not_consumed(&queue).await;
}
