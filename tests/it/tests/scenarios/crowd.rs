//! A crowd of callers over two messengers on one store: whatever their bodies do, the books agree, and
//! nobody runs into a deadlock.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use it::{Log, ShopError, fenced, order};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Messenger, begin};

use crate::World;

const CALLERS: u64 = 32;
const CALLS: u64 = 20;

/// Whether a call is without a transaction, and always does its work.
const fn is_handled(id: u64) -> bool {
    id % 8 == 7
}

async fn call(world: &World, messenger: &Messenger, id: u64) {
    if is_handled(id) {
        return world.handle(messenger, id).await.expect("ok");
    }
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, id).await?;
        match id % 8 {
            1 => return Err(ShopError::Declined),
            2 => panic!("on purpose"),
            3 => tokio::time::sleep(Duration::from_millis(5)).await,
            4 => tx.amend(&order(id))?,
            _ => {}
        }
        tx.commit().await?;
        match id % 8 {
            5 => Err(ShopError::Declined),
            _ => Ok(()),
        }
    };
    let order = order(id);
    let call = AssertUnwindSafe(messenger.scope(async { fenced(&order, body).await })).catch_unwind();
    // Some callers leave, at any time.
    let patience = Duration::from_millis(if id % 8 == 6 { id % 25 } else { 60_000 });
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(Ok(()) | Err(ShopError::Declined)) | Err(_)) => {}
        Ok(Ok(Err(error))) => panic!("{id}: {error}"),
        Err(_) => assert_eq!(id % 8, 6, "{id} hangs"),
    }
}

#[tokio::test]
async fn the_books_agree() {
    let (log, _guard) = Log::listen(LevelFilter::INFO);
    let world = World::with_connections(16).await;
    let (one, two) = (world.messenger().await, world.messenger().await);
    join_all((0..CALLERS).map(async |caller| {
        for n in 0..CALLS {
            let id = n * CALLERS + caller;
            call(&world, if n % 2 == 0 { &one } else { &two }, id).await;
        }
    }))
    .await;
    world.settled(&one).await;
    let mut expected = world.orders().await;
    expected.extend((0..CALLERS * CALLS).filter(|id| is_handled(*id)));
    expected.sort_unstable();
    assert!(expected.len() as u64 > CALLERS * CALLS / 2, "{}", expected.len());
    assert_eq!(world.effects_of_orders().await, expected);
    let stats = two.stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.parked, stats.dead), (expected.len() as u64, 0, 0));
    world.shop_is_clean().await;
    // PostgreSQL's and MySQL's numbers for a deadlock.
    assert_eq!(log.lines_with(&["40P01", "(1213)", "eadlock"]), [] as [String; 0]);
}
