//! The store's server dies, or falls silent, for longer than three leases: callers get their answers,
//! no live body is given up, and everything goes on by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::{Fragile, Place as _, counted, fast, fenced, order, wait_until};
use transactional_message::{ErrorKind, begin};

use crate::{Place, World};

const BODIES: u64 = 20;
/// Also longer than the store's operations may take, so that all are given up.
const OUTAGE: Duration = Duration::from_secs(6);

/// Bodies live through an outage, and begin their transactions after it; others look for what has
/// lapsed all the time.
async fn no_live_body_is_given_up(world: &World, begins: impl AsyncFnOnce(), ends: impl AsyncFnOnce()) {
    assert!(OUTAGE > fast().lease * 3);
    let own = world.messenger().await;
    let hasty = world.messenger_with(fast().half_timeout(Duration::from_millis(500))).await;
    let other = world.messenger_with(fast().poll_interval(Duration::from_millis(2))).await;
    let (over, wait) = tokio::sync::watch::channel(false);
    let body = async |id: u64| {
        let mut wait = wait.clone();
        let body = async {
            wait.wait_for(|over| *over).await.expect("ends");
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        let ended = own.scope(async { fenced(&order(id), body).await }).await;
        assert!(ended.is_ok(), "the live body of {id} was given up: {ended:?}");
    };
    let outage = async {
        wait_until("the halves", async || counted(&own).await.is_some_and(|stats| stats.half == BODIES))
            .await;
        begins().await;
        let began = Instant::now();
        let error = world.handle(&hasty, 100).await.expect_err("there is no store").message();
        assert_eq!((error.kind(), error.body_ran()), (ErrorKind::Unavailable, false), "{error}");
        tokio::time::sleep(OUTAGE.saturating_sub(began.elapsed())).await;
        ends().await;
        let back = Instant::now();
        wait_until("the store to take halves again", async || world.handle(&own, 101).await.is_ok()).await;
        eprintln!("the store away for {OUTAGE:?}: the next call succeeded after {:.2?}", back.elapsed());
        over.send(true).expect("waited for");
    };
    tokio::join!(join_all((0..BODIES).map(body)), outage);
    world.settled(&other).await;
    assert_eq!(world.fences(2).await, 0, "tombstones");
    assert_eq!(world.orders().await, (0..BODIES).collect::<Vec<_>>());
    assert_eq!(world.effects_of_orders().await, (0..BODIES).chain([101]).collect::<Vec<_>>());
}

#[tokio::test]
async fn killed_and_started_again() {
    let victim = Place::start().await;
    let place = Place::on(victim.url());
    place.create(&["store"]).await;
    let world = World { place, ..World::new().await };
    let kill = async || victim.kill().expect("killed");
    let start = async || victim.start_again().await.expect("starts again");
    no_live_body_is_given_up(&world, kill, start).await;
}

#[tokio::test]
async fn silent_and_back() {
    let world = World::new().await;
    let (proxy, place) = world.place.behind_proxy().await;
    let world = World { place, ..world };
    no_live_body_is_given_up(&world, async || proxy.silence(true), async || proxy.silence(false)).await;
}
