//! Serializable transactions: some fail, at a statement or at their commit, and their bodies try again.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use it::{Dialect, ShopError, fenced, numbers, order, run};
use sqlx::Postgres;
use transactional_message::{Error, ErrorKind, Isolation, Messenger, begin};

use crate::World;

/// One try: takes the number that follows the highest one, without locking anything.
async fn take_a_number(world: &World, id: u64) -> Result<(), ShopError> {
    let mut tx = begin(&world.shop).isolation(Isolation::Serializable).await?;
    World::write(&mut tx, id).await?;
    let highest = Postgres::numbers(&mut tx, "SELECT coalesce(max(n), 0) FROM numbers").await?[0];
    tokio::task::yield_now().await;
    Postgres::run(&mut tx, format!("INSERT INTO numbers VALUES ({})", highest + 1)).await?;
    Ok(tx.commit().await?)
}

/// Whether another try may succeed.
fn is_conflict(error: &ShopError) -> bool {
    match error {
        ShopError::Database(error) => error.to_string().contains("could not serialize access"),
        ShopError::Message(error) => error.kind() == ErrorKind::RolledBack,
        ShopError::Declined => false,
    }
}

async fn call(world: &World, messenger: &Messenger, id: u64, conflicts: &AtomicU32) {
    let body = async {
        loop {
            match take_a_number(world, id).await {
                Err(error) if is_conflict(&error) => conflicts.fetch_add(1, Ordering::SeqCst),
                ended => return ended,
            };
        }
    };
    messenger.scope(async { fenced(&order(id), body).await }).await.expect("committed in the end");
}

#[tokio::test]
async fn bodies_that_try_again_commit_once_each() {
    let world = World::with_connections(8).await;
    let messenger = world.messenger().await;
    run(&world.shop, "CREATE TABLE numbers (n bigint)").await.expect("creates");
    let conflicts = AtomicU32::new(0);
    join_all((0..24).map(|id| call(&world, &messenger, id, &conflicts))).await;
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, (0..24).collect::<Vec<_>>());
    assert_eq!(world.effects_of_orders().await, (0..24).collect::<Vec<_>>());
    let taken = numbers(&world.shop, "SELECT n FROM numbers ORDER BY n").await;
    assert_eq!(taken, (1..=24).collect::<Vec<_>>(), "as if one after the other");
    assert!(conflicts.into_inner() > 0, "there was nothing to be tried again");
}

#[tokio::test]
async fn a_conflict_at_the_commit_is_told_and_sends_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    run(&world.shop, "CREATE TABLE numbers (n bigint)").await.expect("creates");
    let both_have_read = tokio::sync::Barrier::new(2);
    let one_has_committed = tokio::sync::Barrier::new(2);
    let body = async |is_first: bool| {
        let mut tx = begin(&world.shop).isolation(Isolation::Serializable).await?;
        World::write(&mut tx, u64::from(is_first)).await?;
        Postgres::run(&mut tx, "SELECT * FROM numbers").await?;
        both_have_read.wait().await;
        Postgres::run(&mut tx, "INSERT INTO numbers VALUES (1)").await?;
        both_have_read.wait().await;
        if is_first {
            tx.commit().await?;
            one_has_committed.wait().await;
        } else {
            one_has_committed.wait().await;
            tx.commit().await?;
        }
        Ok::<_, ShopError>(())
    };
    let (first, second) = (order(1), order(0));
    let (first, second) = tokio::join!(
        messenger.scope(async { fenced(&first, body(true)).await }),
        messenger.scope(async { fenced(&second, body(false)).await })
    );
    first.expect("committed");
    let error: Error = second.expect_err("a conflict").message();
    assert_eq!(error.kind(), ErrorKind::RolledBack, "{error}");
    assert!(error.to_string().contains("it may be tried again"), "{error}");
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [1]);
    assert_eq!(world.effects_of_orders().await, [1]);
    world.shop_is_clean().await;
}
