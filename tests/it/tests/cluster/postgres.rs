//! A primary of PostgreSQL and its standby. The store is found by a URL with both; the pools of the application lead
//! through an address that moves with the primary.

use std::time::{Duration, Instant};

use it::{Dialect, Fragile, Place, PostgresSchemas, Proxy, books_agree, fast, under_load, wait_until};
use services::Server;
use sqlx::{Connection, PgConnection, Postgres};
use transactional_message::Messenger;
use url::Url;

type World = it::World<PostgresSchemas>;

const CALLERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(5);
/// That of `fast`.
const LEASE: Duration = Duration::from_secs(1);
/// Enough that everybody is in the midst of something.
const CALLS: u64 = 50;

struct Pair {
    primary: Server,
    standby: Server,
    /// Between the two.
    replication: Proxy,
    /// Where the application finds the primary.
    address: Proxy,
}

impl Pair {
    async fn start(synchronous: bool) -> Self {
        let settings = format!("synchronous_standby_names={}", if synchronous { "standby" } else { "" });
        let primary = services::postgres::start_with(&[&settings]).await.expect("a primary");
        let target = place(&primary);
        let replication = Proxy::new(&target, true).await.expect("a port");
        let mut by_proxy: Url = primary.url().parse().expect("a URL");
        by_proxy.set_port(Some(replication.address().port())).expect("a port");
        let standby = services::postgres::start_standby(by_proxy.as_str()).await.expect("a standby");
        let address = Proxy::new(&target, true).await.expect("a port");
        Self { primary, standby, replication, address }
    }

    /// With the consumers' database on another server.
    async fn world(&self) -> World {
        let mut url: Url = self.primary.url().parse().expect("a URL");
        url.set_port(Some(self.address.address().port())).expect("a port");
        let connections = u32::try_from(CALLERS).expect("small");
        let mut world = World::at(PostgresSchemas::on(url.as_str()), connections).await;
        world.books = World::new().await.books;
        world
    }

    /// A messenger that is told of both servers, the standby first.
    async fn messenger(&self, world: &World) -> Messenger {
        let url = world.place.url("store");
        let (head, tail) = (url.find('@').expect("a login") + 1, url.find("/postgres").expect("a database"));
        let places = format!("{},{}", place(&self.standby), place(&self.primary));
        let store = format!("{}{places}{}&target_session_attrs=read-write", &url[..head], &url[tail..]);
        let builder = Messenger::builder(store)
            .settings(fast())
            .data(world.oracle.clone())
            .fence("orders", PostgresSchemas::database_of(&world.shop));
        World::start(builder.consumer(world.consumer())).await
    }

    /// Makes the standby the primary, and has the address move.
    async fn fail_over(&self) {
        let mut standby = PgConnection::connect(self.standby.url()).await.expect("connects");
        Postgres::run(&mut standby, "SELECT pg_promote()").await.expect("promotes");
        self.address.lead_to(&place(&self.standby));
    }
}

fn place(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn a_primary_that_dies_loses_nothing_that_its_synchronous_standby_has() {
    let pair = Pair::start(true).await;
    let world = pair.world().await;
    let messenger = pair.messenger(&world).await;
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        load.more(CALLS).await;
        pair.primary.kill().expect("killed");
        let died = Instant::now();
        pair.fail_over().await;
        load.more(1).await;
        eprintln!("the primary died: the next call succeeded after {:.2?}", died.elapsed());
        load.more(CALLS).await;
    })
    .await;
    books_agree(&world, &messenger, done).await;
}

/// It takes connections and statements, and finishes no commit.
#[tokio::test]
async fn a_primary_that_is_cut_off_from_its_standby_is_left() {
    let pair = Pair::start(true).await;
    let world = pair.world().await;
    let messenger = pair.messenger(&world).await;
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        load.more(CALLS).await;
        pair.replication.silence(true);
        let cut = Instant::now();
        pair.fail_over().await;
        load.more(1).await;
        eprintln!("the primary was cut off: the next call succeeded after {:.2?}", cut.elapsed());
        load.more(CALLS).await;
    })
    .await;
    books_agree(&world, &messenger, done).await;
}

/// What the database loses is lost. But nothing is sent any more for a payment that is gone: its half is gone with it, or
/// its fence says that there was no payment.
#[tokio::test]
async fn after_an_asynchronous_standby_took_over_nothing_is_sent_for_what_was_lost() {
    let pair = Pair::start(false).await;
    let world = pair.world().await;
    let messenger = pair.messenger(&world).await;
    let mut before = Vec::new();
    let done = under_load(&world, &messenger, CALLERS, PAUSE, async |load| {
        load.more(CALLS).await;
        // The standby hears nothing any more. What happens now will be lost.
        pair.replication.silence(true);
        load.more(CALLS).await;
        pair.primary.kill().expect("killed");
        // What was in memory may still be delivered: until the store has been away for a lease.
        let away = Instant::now();
        while away.elapsed() < 2 * LEASE {
            tokio::time::sleep(LEASE / 10).await;
            before = world.effects_of_orders().await;
        }
        pair.replication.cut();
        pair.fail_over().await;
        load.more(CALLS).await;
    })
    .await;
    world.settled(&messenger).await;
    let orders = world.orders().await;
    let has_effect = async |id: &u64| world.effects_of_orders().await.binary_search(id).is_ok();
    for id in &orders {
        wait_until("the effect of each order", async || has_effect(id).await).await;
    }
    let effects = world.effects_of_orders().await;
    assert!(effects.windows(2).all(|two| two[0] != two[1]), "each once: {effects:?}");
    let lost: Vec<_> = effects.iter().filter(|id| orders.binary_search(id).is_err()).collect();
    eprintln!(
        "{done} calls succeeded, {} of their orders were lost, {} of those after their message was delivered",
        done.saturating_sub(orders.len() as u64),
        lost.len()
    );
    assert!(!lost.is_empty(), "the test is about what was sent and then lost");
    assert!(
        lost.iter().all(|id| before.contains(id)),
        "sent after it was lost: {lost:?}, before: {before:?}"
    );
}
