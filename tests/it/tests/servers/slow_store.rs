//! The store always takes a large part of the lease to answer: what a dead process left behind is settled all
//! the same, and no live body is asked about.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::{
    Dialect as _, Fragile, Process, Reply, ShopError, counted, fast, fenced, handled, order, wait_until,
};
use transactional_message::{MessageState, Messenger, begin};

use crate::{Db, World};

const LEASE: Duration = Duration::from_millis(500);
const ORPHAN: u64 = 1;
const FENCED: u64 = 2;
const HANDLED: u64 = 3;

/// A messenger over `world`'s store that looks for orphans all the time.
async fn messenger(world: &World) -> Messenger {
    let settings = fast().lease(LEASE);
    world.messenger_with(settings).await
}

/// A process that dies after the commit of its fenced call.
async fn orphan(world: &World) {
    let elsewhere = world.elsewhere();
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(elsewhere.builder()).await;
        let body = async {
            let mut tx = begin(&elsewhere.shop).await?;
            World::write(&mut tx, ORPHAN).await?;
            tx.commit().await?;
            reached.send(()).expect("waits");
            std::future::pending::<Result<(), ShopError>>().await
        };
        messenger.scope(async { fenced(&order(ORPHAN), body).await }).await.expect("killed");
    });
    wait.await.expect("gets there");
    process.kill().await;
}

/// A renewal takes `tenths` of a lease.
async fn orphans_are_settled_with_answers_of(tenths: u32) {
    let world = World::new().await;
    let (proxy, place) = world.place.behind_proxy().await;
    let slow = World { place, ..world.elsewhere() };
    let (own, other) = (messenger(&slow).await, messenger(&slow).await);
    // A question about the live body would be answered wrongly.
    world.oracle.say(HANDLED, [Reply::Cancel]);
    let (over, wait) = tokio::sync::watch::channel(false);
    let end = async || wait.clone().wait_for(|over| *over).await.map(|_| ()).expect("ends");
    let fenced_body = async {
        end().await;
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, FENCED).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    let handled_body = async {
        end().await;
        Ok::<_, ShopError>(())
    };
    let conduct = async {
        wait_until("the halves", async || counted(&own).await.is_some_and(|stats| stats.half == 2)).await;
        orphan(&world).await;
        // To connect takes many round trips, and is not what this is about.
        join_all([&own, &other].repeat(8).iter().map(|one| one.admin().list(MessageState::Half, None, 1)))
            .await;
        proxy.delay(LEASE * tenths / 10 / (2 * Db::RENEWAL_ROUND_TRIPS));
        let began = Instant::now();
        wait_until("the orphan's effect", async || world.effects_of_orders().await == [ORPHAN]).await;
        let leases = began.elapsed().as_secs_f64() / LEASE.as_secs_f64();
        eprintln!("answers of 0.{tenths} of a lease: the orphan was settled after {leases:.1} leases");
        over.send(true).expect("waited for");
    };
    let (first, second, ()) = tokio::join!(
        own.scope(async { fenced(&order(FENCED), fenced_body).await }),
        own.scope(async { handled(&order(HANDLED), handled_body).await }),
        conduct
    );
    assert!(first.is_ok() && second.is_ok(), "a live body was given up: {first:?}, {second:?}");
    proxy.delay(Duration::ZERO);
    world.settled(&own).await;
    assert_eq!(world.effects_of_orders().await, [ORPHAN, FENCED, HANDLED]);
    assert_eq!(world.fences(2).await, 0, "tombstones");
    assert!(world.oracle.questions().is_empty(), "a live body was asked about");
}

#[tokio::test]
async fn orphans_are_settled_with_answers_of_two_fifths_of_a_lease() {
    orphans_are_settled_with_answers_of(4).await;
}

#[tokio::test]
async fn orphans_are_settled_with_answers_of_four_fifths_of_a_lease() {
    orphans_are_settled_with_answers_of(8).await;
}
