//! Callers that go on and on, while a test does harm around them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use transactional_message::Messenger;

use crate::{Place, ShopError, World, wait_until};

/// A caller's pause after a call that failed.
const RETRY: Duration = Duration::from_millis(10);

/// What the callers have got done.
#[derive(Debug, Default)]
pub struct Load {
    over: AtomicBool,
    done: AtomicU64,
}

impl Load {
    /// Waits until so many more calls have succeeded.
    pub async fn more(&self, count: u64) {
        let enough = self.done() + count;
        wait_until("calls that succeed", async || self.done() >= enough).await;
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}

/// Pays one order after the other, several callers at once, until `harm` is done. A caller waits for `pause` before its
/// next call. Says how many calls have succeeded.
pub async fn under_load<P: Place>(
    world: &World<P>,
    messenger: &Messenger,
    callers: u64,
    pause: Duration,
    harm: impl AsyncFnOnce(&Load),
) -> u64 {
    let load = Load::default();
    let caller = async |caller: u64| {
        for n in 0.. {
            if load.over.load(Ordering::SeqCst) {
                break;
            }
            match world.pay(messenger, caller * 1_000_000 + n).await {
                Ok(()) => _ = load.done.fetch_add(1, Ordering::SeqCst),
                // Pacing, as a client does it: while the server is away each try fails at once, and would only heat the machine.
                Err(ShopError::Message(_) | ShopError::Database(_)) => tokio::time::sleep(RETRY).await,
                Err(error) => panic!("{error}"),
            }
            // Pacing: it sets the load, and nothing is waited for.
            tokio::time::sleep(pause).await;
        }
    };
    let harm = async {
        harm(&load).await;
        load.over.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all((0..callers).map(caller)), harm);
    load.done()
}

/// Waits until everything is settled. Then the books agree: each order has its effect, once, and no other order has; and
/// there are as many as calls that succeeded, or more.
pub async fn books_agree<P: Place>(world: &World<P>, messenger: &Messenger, done: u64) {
    world.settled(messenger).await;
    let there = world.orders().await;
    assert!(there.len() as u64 >= done, "an Ok is a committed order");
    let all = i64::try_from(there.len()).expect("small");
    wait_until("all effects", async || world.all_effects().await >= all).await;
    assert_eq!(world.effects_of_orders().await, there);
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.parked, stats.dead), (0, 0));
    world.shop_is_clean().await;
}
