//! A shop on three nodes of RabbitMQ: quorum queues on all of them, and calls that go on.

use std::time::{Duration, Instant};

use it::{Load, SqliteFiles, books_agree, fast, under_load, wait_until};
use services::rabbitmq::{Cluster, Server};
use transactional_message::{Consumer, ExchangeKind, RabbitMq};

type World = it::World<SqliteFiles>;

const EXCHANGE: &str = "shop";
const QUEUE: &str = "books";
const CALLERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// More than are on their way at a time.
const EFFECTS: i64 = 50;

pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    pub(crate) world: World,
}

impl Shop {
    pub(crate) async fn start() -> Self {
        Self { cluster: Cluster::start().await.expect("starts"), world: World::new().await }
    }

    /// Has calls go on while `harm` is done to nodes. In the end each message has had its effect, once.
    pub(crate) async fn under_load(&self, harm: impl AsyncFnOnce(&Load)) {
        let Self { cluster, world } = self;
        // A client's own patience with a node that stands still.
        let rabbitmq =
            RabbitMq::new(format!("{}?heartbeat=2", cluster.url())).exchange(EXCHANGE, ExchangeKind::Topic);
        let consumer = Consumer::new(QUEUE, world.books.clone(), world.listener.clone()).bind(EXCHANGE, "#");
        let builder = world.builder().settings(fast()).rabbitmq(rabbitmq).consumer(consumer);
        let messenger = World::start(builder).await;
        let done = under_load(world, &messenger, CALLERS, PAUSE, harm).await;
        books_agree(world, &messenger, done).await;
    }

    /// Waits for more effects than were on their way, and says how long that took.
    pub(crate) async fn more_effects(&self, after: &str) {
        let (began, before) = (Instant::now(), self.effects().await);
        wait_until("effects", async || self.effects().await >= before + EFFECTS).await;
        eprintln!("{after}: {EFFECTS} more effects after {:.2?}", began.elapsed());
    }

    pub(crate) async fn effects(&self) -> i64 {
        self.world.all_effects().await
    }

    /// The node that leads the queue, and the two others.
    pub(crate) async fn leader(&self) -> (&Server, [&Server; 2]) {
        let nodes = self.cluster.nodes();
        let leader = self.cluster.leader(QUEUE).await.expect("a leader");
        (&nodes[leader], [&nodes[(leader + 1) % 3], &nodes[(leader + 2) % 3]])
    }

    /// Waits until all nodes see each other, and the queue has a copy on each, as far as its leader knows.
    pub(crate) async fn is_whole(&self) {
        let nodes = self.cluster.nodes();
        wait_until("the queue to have all its copies again", async || {
            let said = nodes[0].ctl(["list_queues", "name", "online"]).await.unwrap_or_default();
            let row = said.lines().find(|row| row.starts_with(&format!("{QUEUE}\t")));
            row.is_some_and(|row| nodes.iter().all(|node| row.contains(node.name())))
                && self.cluster.is_connected().await
        })
        .await;
    }
}
