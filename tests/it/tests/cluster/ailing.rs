//! A queue has lost most of its nodes: what goes to other queues goes on.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Log, SqliteFiles, fast, listed, send, wait_until};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use services::rabbitmq::{Cluster, Server};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{ExchangeKind, Message, MessageInfo, MessageState, Messenger, RabbitMq};

type World = it::World<SqliteFiles>;

const EXCHANGE: &str = "shop";
/// On all nodes, and on one.
const QUEUES: [(&str, i32); 2] = [("ailing", 3), ("well", 1)];

async fn declare_queues(node: &Server) {
    let connection =
        Connection::connect(node.url(), ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("opens");
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = lapin::ExchangeKind::Topic;
    channel.exchange_declare(EXCHANGE.into(), kind, durable, FieldTable::default()).await.expect("declares");
    for (queue, nodes) in QUEUES {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(nodes));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, arguments).await.expect("declares");
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(queue.into(), EXCHANGE.into(), queue.into(), options, arguments)
            .await
            .expect("binds");
    }
    connection.close(200, "done".into()).await.expect("closes");
}

async fn send_to(messenger: &Messenger, queue: &str) {
    send(messenger, Message::bytes(EXCHANGE, queue, "text/plain", queue)).await;
}

async fn in_state(messenger: &Messenger, state: MessageState) -> Vec<MessageInfo> {
    messenger.admin().list(state, None, 1000).await.expect("lists")
}

async fn delivered_to(messenger: &Messenger, queue: &str) -> Option<usize> {
    let delivered = listed(messenger, MessageState::Delivered, 1000).await?;
    Some(delivered.iter().filter(|message| message.routing_key == queue).count())
}

#[tokio::test]
async fn a_queue_that_has_lost_its_nodes_keeps_no_other_messages_waiting() {
    let (log, _listening) = Log::listen(LevelFilter::INFO);
    let (cluster, world) = (Cluster::start().await.expect("starts"), World::new().await);
    let [one, two, three] = cluster.nodes() else { panic!("three nodes") };
    declare_queues(one).await;
    let rabbitmq = RabbitMq::new(one.url()).exchange(EXCHANGE, ExchangeKind::Topic);
    // A tenth of it without an answer, and publishing goes on elsewhere.
    let settings = fast().publish_timeout(Duration::from_secs(5));
    let messenger = World::start(world.builder().settings(settings).rabbitmq(rabbitmq)).await;
    for (queue, _) in QUEUES {
        send_to(&messenger, queue).await;
    }
    world.settled(&messenger).await;

    two.kill().expect("killed");
    three.kill().expect("killed");
    // No queue takes the third kind: RabbitMQ gives it back, perhaps among answers that are late.
    join_all(
        (0..100)
            .map(|n| send_to(&messenger, QUEUES[n % 2].0))
            .chain((0..10).map(|_| send_to(&messenger, "nowhere"))),
    )
    .await;
    wait_until("what was sent beside them", async || delivered_to(&messenger, "well").await == Some(51))
        .await;
    // RabbitMQ needs 10 s or longer for each of the others.
    for n in 52..72 {
        send_to(&messenger, "well").await;
        wait_until("what is sent after them", async || delivered_to(&messenger, "well").await == Some(n))
            .await;
    }
    assert_eq!(delivered_to(&messenger, "ailing").await, Some(1));
    wait_until("the log to say so", async || !log.lines_with(&["a message is not confirmed"]).is_empty())
        .await;

    two.start_again().await.expect("starts again");
    three.start_again().await.expect("starts again");
    world.settled(&messenger).await;
    let delivered = in_state(&messenger, MessageState::Delivered).await;
    assert_eq!(delivered.len(), 122);
    let blamed = delivered.iter().find(|message| message.routing_key == "well" && message.attempts > 0);
    assert!(blamed.is_none(), "{blamed:?}");
    let dead = in_state(&messenger, MessageState::Dead).await;
    assert_eq!(dead.len(), 10);
    assert!(dead.iter().all(|message| message.routing_key == "nowhere"), "{dead:?}");
    for said in ["a message is not confirmed", "messages are confirmed again"] {
        let lines = log.lines_with(&[said]);
        assert!(!lines.is_empty(), "{said}");
        assert!(lines.iter().all(|line| line.contains("\"ailing\"")), "{lines:?}");
    }
}
