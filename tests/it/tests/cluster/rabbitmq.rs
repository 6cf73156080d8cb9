//! Three nodes of RabbitMQ, quorum queues on all of them, and calls that go on: whatever happens to nodes, each message
//! has its effect, once, and soon after.

use std::time::{Duration, Instant};

use it::{Load, books_agree, fast, under_load, wait_until};
use services::rabbitmq::Cluster;
use transactional_message::{Consumer, ExchangeKind, RabbitMq};

type World = it::World<it::SqliteFiles>;

const EXCHANGE: &str = "shop";
const QUEUE: &str = "books";
const CALLERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// Enough that messages are everywhere on their way.
const EFFECTS: i64 = 50;

/// Waits for so many more effects, and says how long the first took: that many are more than were on their way.
async fn more_effects(world: &World, after: &str) {
    let (began, before) = (Instant::now(), world.all_effects().await);
    wait_until("effects", async || world.all_effects().await >= before + EFFECTS).await;
    eprintln!("{after}: {EFFECTS} more effects after {:.2?}", began.elapsed());
}

/// Waits until a node that was killed or held has all its queues again.
async fn is_whole(cluster: &Cluster) {
    wait_until("the queue to have all its copies again", async || {
        let said = cluster.nodes()[0].ctl(["list_queues", "name", "online"]).await.unwrap_or_default();
        let row = said.lines().find(|row| row.starts_with(&format!("{QUEUE}\t")));
        row.is_some_and(|row| cluster.nodes().iter().all(|node| row.contains(node.name())))
    })
    .await;
}

async fn each_node_in_turn(world: &World, cluster: &Cluster, load: &Load) {
    for round in ["first", "second"] {
        more_effects(world, "quiet").await;
        let leader = cluster.leader(QUEUE).await.expect("a leader");
        let node = &cluster.nodes()[leader];
        node.kill().expect("killed");
        more_effects(world, &format!("the {round} leader of the queue killed")).await;
        node.start_again().await.expect("starts again");
        is_whole(cluster).await;
    }
    let leader = cluster.leader(QUEUE).await.expect("a leader");
    let follower = &cluster.nodes()[(leader + 1) % cluster.nodes().len()];
    follower.kill().expect("killed");
    more_effects(world, "a follower killed").await;
    follower.start_again().await.expect("starts again");
    is_whole(cluster).await;
    load.more(1).await;
}

async fn two_of_three(world: &World, cluster: &Cluster, load: &Load) {
    let [one, two, _] = cluster.nodes() else { panic!("three nodes") };
    one.kill().expect("killed");
    two.kill().expect("killed");
    // What was on its way when they died.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = world.all_effects().await;
    load.more(100).await;
    assert_eq!(world.all_effects().await, before, "no majority, no progress");
    one.start_again().await.expect("starts again");
    two.start_again().await.expect("starts again");
    more_effects(world, "two of three killed, and started again").await;
    is_whole(cluster).await;
}

async fn one_that_stands_still(world: &World, cluster: &Cluster) {
    let leader = &cluster.nodes()[cluster.leader(QUEUE).await.expect("a leader")];
    leader.pause().expect("paused");
    more_effects(world, "the leader stands still").await;
    leader.resume().expect("goes on");
    more_effects(world, "the former leader goes on").await;
}

#[tokio::test]
async fn whatever_happens_to_nodes_nothing_is_lost_and_messages_flow() {
    let cluster = Cluster::start().await.expect("starts");
    let world = World::new().await;
    // A client's own patience with a node that stands still.
    let rabbitmq =
        RabbitMq::new(format!("{}?heartbeat=2", cluster.url())).exchange(EXCHANGE, ExchangeKind::Topic);
    let consumer = Consumer::new(QUEUE, world.books.clone(), world.listener.clone()).bind(EXCHANGE, "#");
    let messenger =
        World::start(world.builder().settings(fast()).rabbitmq(rabbitmq).consumer(consumer)).await;
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        each_node_in_turn(&world, &cluster, load).await;
        two_of_three(&world, &cluster, load).await;
        one_that_stands_still(&world, &cluster).await;
    })
    .await;
    books_agree(&world, &messenger, done).await;
}
