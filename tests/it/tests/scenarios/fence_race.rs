//! Transactions and tombstones race for the same key: whoever is first wins, and all agree on who.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Place, Process, ShopError, fast, fenced, gate, order, wait_until};
use transactional_message::{ErrorKind, MessageState, begin};

use crate::World;

const CALLS: u64 = 40;

#[tokio::test]
async fn late_transactions_race_three_checkers() {
    let world = World::new().await;
    let (builder, place) = (world.elsewhere().builder(), world.place.clone());
    let (go_on, gate) = gate();
    let process = Process::start(move || async move {
        let messenger = World::start_to_stand_still(builder).await;
        let shop = place.pool("shop", 2);
        let barrier = tokio::sync::Barrier::new(usize::try_from(CALLS).expect("small"));
        let call = async |id: u64| {
            let body = async {
                // The last one stops the whole process; all continue together.
                if barrier.wait().await.is_leader() {
                    gate.wait();
                }
                let mut tx = begin(&shop).await?;
                World::write(&mut tx, id).await?;
                Ok(tx.commit().await?)
            };
            messenger.scope(async { fenced(&order(id), body).await }).await
        };
        for (id, ended) in (0..).zip(join_all((0..CALLS).map(call)).await) {
            match ended {
                Ok(()) => {}
                Err(ShopError::Message(error)) if error.kind() == ErrorKind::Fenced => {}
                Err(error) => panic!("{id}: {error}"),
            }
        }
        assert!(messenger.shutdown(Duration::from_secs(30)).await);
    });
    let poll_interval = Duration::from_millis(2);
    let checkers = join_all((0..3).map(|_| world.messenger_with(fast().poll_interval(poll_interval)))).await;
    // The first tombstone is the start signal.
    wait_until("a first tombstone", async || world.fences(2).await > 0).await;
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&checkers[0]).await;

    let there = world.orders().await;
    assert_eq!(world.effects_of_orders().await, there);
    let (committed, tombstones) = (world.fences(1).await, world.fences(2).await);
    assert_eq!((committed.unsigned_abs(), committed + tombstones), (there.len() as u64, CALLS.cast_signed()));
    let stats = checkers[0].stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.cancelled), (committed.unsigned_abs(), tombstones.unsigned_abs()));
}

#[tokio::test]
async fn three_checkers_settle_what_a_dead_process_left_behind() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (builder, shop) = (elsewhere.builder(), elsewhere.shop);
    let (reached, mut wait) = tokio::sync::mpsc::channel(100);
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let call = async |id: u64| {
            let body = async {
                if id.is_multiple_of(2) {
                    let mut tx = begin(&shop).await?;
                    World::write(&mut tx, id).await?;
                    tx.commit().await?;
                }
                reached.send(()).await.expect("waits");
                std::future::pending().await
            };
            let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(id), body).await }).await;
        };
        join_all((0..CALLS).map(call)).await;
    });
    let checkers = join_all((0..3).map(|_| world.messenger())).await;
    for _ in 0..CALLS {
        wait.recv().await.expect("gets there");
    }
    assert_eq!(checkers[0].stats().await.expect("counts").half, CALLS);
    process.kill().await;
    world.count(&checkers[0], MessageState::Cancelled, CALLS / 2).await;
    world.settled(&checkers[0]).await;
    let expected: Vec<_> = (0..CALLS).step_by(2).collect();
    assert_eq!(world.orders().await, expected);
    assert_eq!(world.effects_of_orders().await, expected);
    assert_eq!(world.fences(2).await.unsigned_abs(), CALLS / 2);
}

#[tokio::test]
async fn a_process_that_dies_in_its_open_transaction_sends_nothing() {
    let world = World::new().await;
    let (builder, place) = (world.elsewhere().builder(), world.place.clone());
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let shop = place.pool("shop", 2);
        let body = async {
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 1).await?;
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(1), body).await }).await;
    });
    let messenger = world.messenger().await;
    wait.await.expect("gets there");
    process.kill().await;
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert!(world.orders().await.is_empty());
    assert!(world.listener.orders().is_empty());
}
