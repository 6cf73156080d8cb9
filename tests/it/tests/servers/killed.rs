//! The server that has everything is killed under load, and started again: the books agree.

use std::time::{Duration, Instant};

use it::{Fragile, books_agree, under_load};

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
    let done = under_load(&world, &messenger, CALLERS, Duration::ZERO, async |load| {
        for _ in 0..KILLS {
            load.more(CALLS).await;
            victim.kill().expect("killed");
            victim.start_again().await.expect("starts again");
            let back = Instant::now();
            load.more(1).await;
            eprintln!("the server killed under load: the next call succeeded after {:.2?}", back.elapsed());
        }
        load.more(CALLS).await;
    })
    .await;
    books_agree(&world, &messenger, done).await;
}
