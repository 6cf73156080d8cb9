//! The server ends sessions, as at its restart or by an administrator's hand: calls go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use it::{Remote, ShopError, fenced, order};
use transactional_message::begin;

use crate::World;

#[tokio::test]
async fn between_operations_nobody_notices() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in 0..5 {
        world.pay(&messenger, id).await.expect("ok");
        world.settled(&messenger).await;
        // Behind a pooler, one session may serve all.
        assert!(world.place.cut().await > 0, "there were sessions");
        world.handle(&messenger, 10 + id).await.expect("the store goes on");
        world.pay(&messenger, 20 + id).await.expect("the fence goes on");
        world.settled(&messenger).await;
    }
    let expected: Vec<_> = [0, 10, 20].into_iter().flat_map(|first| first..first + 5).collect();
    assert_eq!(world.effects_of_orders().await, expected);
}

/// The body's own transaction may be among what is cut: then the call fails, and sends nothing, unless
/// it was committed all the same.
#[tokio::test]
async fn during_operations_the_messages_follow_the_truth() {
    let world = World::with_connections(8).await;
    let messenger = world.messenger().await;
    let over = AtomicBool::new(false);
    let caller = async |caller: u64| {
        let (mut done, mut failed) = (0_u64, 0_u64);
        for n in 0..40 {
            let id = caller * 1000 + n;
            let body = async {
                let mut tx = begin(&world.shop).await?;
                World::write(&mut tx, id).await?;
                tokio::task::yield_now().await;
                Ok(tx.commit().await?)
            };
            match messenger.scope(async { fenced(&order(id), body).await }).await {
                Ok(()) => done += 1,
                Err(ShopError::Message(_) | ShopError::Database(_)) => failed += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (done, failed)
    };
    let callers = async {
        let counts = join_all((0..8).map(caller)).await;
        over.store(true, Ordering::SeqCst);
        counts
    };
    let cuts = async {
        let mut cuts = 0;
        while !over.load(Ordering::SeqCst) {
            world.place.cut().await;
            cuts += 1;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        cuts
    };
    let (counts, cuts) = tokio::join!(callers, cuts);
    world.settled(&messenger).await;
    let there = world.orders().await;
    assert_eq!(world.effects_of_orders().await, there);
    let done: u64 = counts.iter().map(|(done, _)| done).sum();
    assert!(there.len() as u64 >= done, "an Ok is a committed order: {done}");
    assert!(done > 0 && cuts > 2, "{done} calls of {counts:?} with {cuts} cuts");
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.parked, stats.dead), (0, 0));
    world.shop_is_clean().await;
}
