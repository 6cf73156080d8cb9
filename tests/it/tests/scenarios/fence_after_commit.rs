//! A commit that was not proven, was dropped, or succeeded before an error: what the body may do then, and what is sent.

use futures_util::FutureExt;
use it::{ShopError, fenced, order};
use sqlx::Executor;
use transactional_message::{ErrorKind, FencedTransaction, MessageState, begin};

use super::fence_commit::the_truth;

use crate::{Db, World};

type Tx<'c> = FencedTransaction<'c, Db>;

#[tokio::test]
async fn after_an_unproven_commit_the_body_may_try_again() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.execute("ROLLBACK").await?;
        assert_eq!(tx.commit().await.expect_err("unproven").kind(), ErrorKind::Unproven);
        let mut tx: Tx<'_> = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("the second time");
    the_truth(&world, &messenger, &[1]).await;
}

#[tokio::test]
async fn after_a_raw_commit_underneath_a_second_transaction_learns_that_it_has_committed() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        tx.execute("COMMIT").await?;
        assert_eq!(tx.commit().await.expect_err("unproven").kind(), ErrorKind::Unproven);
        Ok(begin(&world.shop).await.map(drop)?)
    };
    let error = messenger.scope(async { fenced::<()>(&order(1), body).await }).await.expect_err("refused");
    let error = error.message();
    assert_eq!(error.kind(), ErrorKind::AlreadyCommitted, "not `Fenced`: {error}");
    the_truth(&world, &messenger, &[1]).await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_found_out_and_nothing_is_guessed() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    // Dropped after its n-th poll, by a body that then says `Ok`, `Err`, or panics.
    for id in 0..30_u64 {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            let mut commit = Box::pin(tx.commit());
            for _ in 0..=id / 3 {
                if (&mut commit).now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(commit);
            match id % 3 {
                0 => Ok(()),
                1 => Err(ShopError::Declined),
                _ => panic!("on purpose"),
            }
        };
        let call = messenger.scope(async { fenced(&order(id), body).await });
        _ = std::panic::AssertUnwindSafe(call).catch_unwind().await;
    }
    world.settled(&messenger).await;
    assert_eq!(messenger.stats().await.expect("counts").parked, 0);
    let there = world.orders().await;
    the_truth(&world, &messenger, &there).await;
}

#[tokio::test]
async fn an_err_after_the_commit_is_the_callers_and_the_message_goes_out() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        tx.commit().await?;
        Err(ShopError::Declined)
    };
    let ended = messenger.scope(async { fenced::<()>(&order(1), body).await }).await;
    assert!(matches!(ended, Err(ShopError::Declined)));
    world.count(&messenger, MessageState::Delivered, 1).await;
    the_truth(&world, &messenger, &[1]).await;
}
