//! The server that has everything is killed under load, and started again: the books agree.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::{Fragile, ShopError, wait_until};

use crate::{Place, World};

const CALLERS: u64 = 8;
const KILLS: u64 = 3;
/// Enough that everybody is in the midst of something.
const CALLS: u64 = 50;

#[tokio::test]
async fn under_load_nothing_is_lost_and_calls_go_on() {
    let victim = Place::start().await;
    let world = World::at(Place::on(victim.url()), u32::try_from(CALLERS).expect("small")).await;
    let messenger = world.messenger().await;
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let caller = async |caller: u64| {
        for n in 0.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            match world.pay(&messenger, caller * 1_000_000 + n).await {
                Ok(()) => _ = done.fetch_add(1, Ordering::SeqCst),
                Err(ShopError::Message(_) | ShopError::Database(_)) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let more = async |count: u64| {
        let enough = done.load(Ordering::SeqCst) + count;
        wait_until("calls that succeed", async || done.load(Ordering::SeqCst) >= enough).await;
    };
    let kills = async {
        for _ in 0..KILLS {
            more(CALLS).await;
            victim.kill().expect("killed");
            victim.start_again().await.expect("starts again");
            let back = Instant::now();
            more(1).await;
            eprintln!("the server killed under load: the next call succeeded after {:.2?}", back.elapsed());
        }
        more(CALLS).await;
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all((0..CALLERS).map(caller)), kills);
    let back = Instant::now();
    world.settled(&messenger).await;
    eprintln!("and after the last call everything was settled in {:.2?}", back.elapsed());
    let there = world.orders().await;
    assert!(there.len() as u64 >= done.load(Ordering::SeqCst), "an Ok is a committed order");
    assert_eq!(world.effects_of_orders().await, there);
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.parked, stats.dead), (0, 0));
    world.shop_is_clean().await;
}
