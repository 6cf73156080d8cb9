//! What RabbitMQ would refuse: told before the body runs, or at no cost for anybody else.

use futures_util::future::join_all;
use it::AnsweredBy;
use it::{Rabbit, ShopError, fast, order, send, wait_until};
use transactional_message::{
    ErrorKind, ExchangeKind, Message, MessageInfo, MessageState, Messenger, RabbitMq,
};

use crate::World;

/// Calls with a message that must be refused before its body runs. What the caller is told.
async fn refused(messenger: &Messenger, message: Message) -> String {
    let handler = AnsweredBy::Handler("it.handled".into());
    let mut ran = false;
    let body = async {
        ran = true;
        Ok::<_, ShopError>(())
    };
    let ended = messenger.call(it::call(handler, [message]), body).await;
    assert!(!ran, "the body ran");
    let error = ended.expect_err("accepted").message();
    assert_eq!(error.kind(), ErrorKind::InvalidMessage);
    assert!(!error.body_ran());
    error.to_string()
}

fn message(exchange: &str, id: u64) -> Message {
    Message::json(exchange, "x", &order(id)).expect("encodes")
}

async fn in_state(messenger: &Messenger, state: MessageState) -> Vec<MessageInfo> {
    messenger.admin().list(state, None, 1000).await.expect("lists")
}

#[tokio::test]
async fn what_amqp_cannot_carry_is_refused_before_the_body_runs_whatever_delivers() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let settings = fast().headers_limit(64 * 1024);
    let in_process = World::start(world.builder_on("other.db").settings(settings)).await;
    let messenger = World::start(rabbit.with(world.builder().settings(settings))).await;
    for messenger in [&in_process, &messenger] {
        for header in ["CC", "BCC"] {
            let why = refused(messenger, message("shop", 1).header(header, "elsewhere")).await;
            assert!(why.contains(&format!("header `{header}` is read by RabbitMQ")), "{why}");
        }
        let many = (0..11_000).fold(message("shop", 1), |message, n| message.header(format!("{n:x}"), ""));
        let why = refused(messenger, many).await;
        assert!(why.contains("11000 headers") && why.contains("98304"), "{why}");
        assert_eq!(messenger.stats().await.expect("counts").half, 0);
    }
}

/// The broker's URL through a proxy, with smaller frames.
fn small_frames(url: &str) -> String {
    format!("{url}?frame_max=8192")
}

#[tokio::test]
async fn headers_that_do_not_fit_into_the_connections_frames_are_refused_before_the_body_runs() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let small = RabbitMq::new(small_frames(&rabbit.url)).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let messenger = World::start(world.builder().rabbitmq(small)).await;
    rabbit.declare_exchange().await;
    let queue = rabbit.queue("all");
    rabbit.bind(&queue, "#").await;
    // Now it knows.
    send(&messenger, message(&rabbit.exchange, 1)).await;
    world.count(&messenger, MessageState::Delivered, 1).await;
    let why = refused(&messenger, message(&rabbit.exchange, 2).header("large", "x".repeat(10_000))).await;
    assert!(why.contains("`frame_max` is 8192"), "{why}");
    send(&messenger, message(&rabbit.exchange, 3).header("large", "x".repeat(3_000))).await;
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(rabbit.take(&queue, 2).await.len(), 2);
}

#[tokio::test]
async fn frames_that_are_smaller_than_known_cost_one_message_and_no_connection() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    rabbit.declare_exchange().await;
    let queue = rabbit.queue("all");
    rabbit.bind(&queue, "#").await;
    // Stored while nobody knew how large the frames will be.
    let (_closed, nowhere) = rabbit.proxy(false).await;
    let before = World::start(world.builder().rabbitmq(nowhere)).await;
    let large = |id| message(&rabbit.exchange, id).business_key("large").header("large", "x".repeat(10_000));
    send(&before, large(1000)).await;
    join_all((0..100).map(|id| send(&before, message(&rabbit.exchange, id)))).await;
    assert!(before.shutdown(std::time::Duration::from_secs(5)).await);

    let (proxy, url) = rabbit.proxy(true).await;
    let small = RabbitMq::new(small_frames(&url)).exchange(&rabbit.exchange, ExchangeKind::Topic);
    let messenger = World::start(world.builder().rabbitmq(small)).await;
    world.settled(&messenger).await;
    let dead = in_state(&messenger, MessageState::Dead).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((dead[0].attempts, dead[0].business_key.as_deref()), (1, Some("large")));
    assert!(dead[0].reason.as_deref().is_some_and(|why| why.contains("`frame_max` is 8192")), "{dead:?}");
    let delivered = in_state(&messenger, MessageState::Delivered).await;
    assert_eq!(delivered.len(), 100);
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
    assert_eq!(proxy.callers(), 1, "the connection was kept");
    assert_eq!(rabbit.take(&queue, 100).await.len(), 100);
    wait_until("nothing more", async || rabbit.ready(&queue).await == Some(0)).await;
}
