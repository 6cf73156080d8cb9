//! A process dies with a great many halves open, while calls go on elsewhere: each half is settled as
//! its transaction ended, and the calls are not disturbed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::{Process, ShopError, fast, fenced, handled, number, order, wait_until};
use transactional_message::{MessageState, begin};

use crate::World;

/// Half of them have committed.
const ORPHANS: u64 = 1000;
const CALLERS: u64 = 4;
/// Between the calls of one: traffic, and no attempt at a record.
const PAUSE: Duration = Duration::from_millis(5);

/// A process in which all bodies have come to their end, and none has said so.
async fn doomed(world: &World) -> Process {
    let elsewhere = world.elsewhere();
    let (reached, mut wait) = tokio::sync::mpsc::channel(100);
    let process = Process::start(move || async move {
        let messenger = World::start(elsewhere.builder()).await;
        let call = async |id: u64| {
            let body = async {
                if id.is_multiple_of(2) {
                    let mut tx = begin(&elsewhere.shop).await?;
                    World::write(&mut tx, id).await?;
                    tx.commit().await?;
                }
                reached.send(()).await.expect("waits");
                std::future::pending().await
            };
            let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(id), body).await }).await;
        };
        join_all((0..ORPHANS).map(call)).await;
    });
    for _ in 0..ORPHANS {
        wait.recv().await.expect("gets there");
    }
    process
}

#[tokio::test]
async fn of_a_dead_process_are_settled_under_live_traffic() {
    let world = World::new().await;
    // Long enough for a turn to write, where there is one writer at a time.
    let settings = fast().fence_lock_timeout(Duration::from_millis(500));
    let messenger = world.messenger_with(settings).await;
    let process = doomed(&world).await;
    assert_eq!(messenger.stats().await.expect("counts").half, ORPHANS);
    let over = AtomicBool::new(false);
    let caller = async |caller: u64| {
        for n in 1.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            world.pay(&messenger, caller * 1_000_000 + n).await.expect("a live call is not disturbed");
            tokio::time::sleep(PAUSE).await;
        }
    };
    let recovery = async {
        process.kill().await;
        let killed = Instant::now();
        let store = world.store();
        let cancelled =
            async || number(&store, "SELECT count(*) FROM tm_message WHERE state = 2").await.unsigned_abs();
        wait_until("the first to be settled", async || cancelled().await > 0).await;
        let first = killed.elapsed();
        let mut before = 0;
        while before < ORPHANS / 2 {
            wait_until("more to be settled", async || cancelled().await > before).await;
            before = cancelled().await;
        }
        let leases = |time: Duration| time.as_secs_f64() / fast().lease.as_secs_f64();
        eprintln!(
            "{ORPHANS} orphans under live traffic: the first settled after {:.1} leases, all after {:.1}",
            leases(first),
            leases(killed.elapsed())
        );
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all((1..=CALLERS).map(caller)), recovery);
    world.settled(&messenger).await;
    let there = world.orders().await;
    assert_eq!(there.iter().filter(|id| **id < ORPHANS).count() as u64, ORPHANS / 2);
    assert!(there.len() as u64 > ORPHANS / 2 + CALLERS, "calls went on");
    assert_eq!(world.effects_of_orders().await, there);
    assert_eq!(world.fences(2).await.unsigned_abs(), ORPHANS / 2);
    world.count(&messenger, MessageState::Delivered, there.len() as u64).await;
}

/// More than is claimed at once, ten times over.
const WAITING: u64 = 640;

/// Their process vanished, and a commit may still be in flight: a handler is asked later. The others of
/// its kind don't wait for one poll after the other until that is noted, or they would be taken up late.
#[tokio::test]
async fn that_have_to_wait_are_all_looked_through_after_one_poll() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (reached, mut wait) = tokio::sync::mpsc::channel(100);
    let process = Process::start(move || async move {
        let patient = fast().check_after(Duration::from_hours(1));
        let messenger = World::start(elsewhere.builder().settings(patient)).await;
        let call = async |id: u64| {
            let body = async {
                reached.send(()).await.expect("waits");
                std::future::pending().await
            };
            let _: Result<(), ShopError> = messenger.scope(async { handled(&order(id), body).await }).await;
        };
        join_all((0..WAITING).map(call)).await;
    });
    for _ in 0..WAITING {
        wait.recv().await.expect("gets there");
    }
    process.kill().await;
    // With a poll for each claim, it would take longer than is waited.
    let settings = fast().poll_interval(Duration::from_secs(4));
    let messenger = world.messenger_with(settings).await;
    let store = world.store();
    let looked_at = "SELECT count(*) FROM tm_message WHERE state = 0 AND held_by IS NULL";
    wait_until("all to be looked through", async || {
        number(&store, looked_at).await.unsigned_abs() == WAITING
    })
    .await;
    assert_eq!(world.oracle.questions(), []);
    assert_eq!(messenger.stats().await.expect("counts").half, WAITING);
}
