//! A commit that failed, was dropped, or succeeded before an error: what the body may do then, and what is sent.

use futures_util::FutureExt;
use it::{ShopError, World, fenced, order, write};
use sqlx::Executor;
use transactional_message::{ErrorKind, FencedTransaction, State, begin};

use crate::fence_commit::{committed_after, the_truth};

type Tx<'c> = FencedTransaction<'c, sqlx::Sqlite>;

/// A table whose references are checked by the commit: a dangling one makes it fail.
async fn with_lines(world: &World) {
    let sql = "CREATE TABLE lines (order_id INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)";
    sqlx::raw_sql(sql).execute(&world.shop).await.expect("creates");
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_is_an_error_and_sends_nothing() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    with_lines(&world).await;
    let error = committed_after(&world, &messenger, 1, &["INSERT INTO lines VALUES (77)"]).await;
    let error = error.expect_err("a dangling reference");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
    the_truth(&world, &messenger, &[]).await;
    committed_after(&world, &messenger, 2, &[]).await.expect("the connection is clean");
    the_truth(&world, &messenger, &[2]).await;
}

#[tokio::test]
async fn after_a_failed_commit_there_is_no_second_transaction() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    with_lines(&world).await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.execute("INSERT INTO lines VALUES (77)").await?;
        tx.commit().await.expect_err("a dangling reference");
        Ok(begin(&world.shop).await.map(drop)?)
    };
    let error = messenger.scope(async { fenced::<()>(&order(1), body).await }).await.expect_err("refused");
    assert_eq!(error.message().kind(), ErrorKind::AlreadyCommitted);
    the_truth(&world, &messenger, &[]).await;
}

#[tokio::test]
async fn after_an_unproven_commit_the_body_may_try_again() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.execute("ROLLBACK").await?;
        assert_eq!(tx.commit().await.expect_err("unproven").kind(), ErrorKind::Unproven);
        let mut tx: Tx<'_> = begin(&world.shop).await?;
        write(&mut *tx, 1).await?;
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
        write(&mut *tx, 1).await?;
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
            write(&mut *tx, id).await?;
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
        write(&mut *tx, 1).await?;
        tx.commit().await?;
        Err(ShopError::Declined)
    };
    let ended = messenger.scope(async { fenced::<()>(&order(1), body).await }).await;
    assert!(matches!(ended, Err(ShopError::Declined)));
    world.count(&messenger, State::Delivered, 1).await;
    the_truth(&world, &messenger, &[1]).await;
}
