//! `commit` proves that the fence is in place, and raises when it is not; the message follows the truth.

use it::{Dialect, ShopError, fenced, order};
use sqlx::{Connection, Executor};
use transactional_message::{Error, ErrorKind, Messenger, begin, withhold};

use crate::{Db, World};

/// What becomes of a body that runs `statements` in its transaction, each swallowed when it fails.
pub(crate) async fn committed_after(
    world: &World,
    messenger: &Messenger,
    id: u64,
    statements: &[&'static str],
) -> Result<(), Error> {
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, id).await?;
        for statement in statements {
            _ = sqlx::raw_sql(*statement).execute(&mut *tx).await;
        }
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(id), body).await }).await.map_err(ShopError::message)
}

/// Orders are delivered if, and only if, they are in the table; the pool's only connection is clean.
pub(crate) async fn the_truth(world: &World, messenger: &Messenger, expected: &[u64]) {
    world.settled(messenger).await;
    world.shop_is_clean().await;
    assert_eq!(world.listener.orders(), expected, "delivered");
    assert_eq!(world.orders_of_calls().await, expected, "there");
}

#[tokio::test]
async fn after_a_swallowed_error_the_fence_tells_whether_the_transaction_goes_on() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let statements = ["INSERT INTO orders (id) VALUES (1)", "SELECT * FROM nowhere", "not even SQL"];
    let ended = committed_after(&world, &messenger, 1, &statements).await;
    if Db::GOES_ON {
        ended.expect("the database goes on after such errors");
        the_truth(&world, &messenger, &[1]).await;
    } else {
        let error = ended.expect_err("the database has given the transaction up");
        assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
        assert!(error.to_string().contains("current transaction is aborted"), "{error}");
        the_truth(&world, &messenger, &[]).await;
    }
}

#[tokio::test]
async fn a_transaction_that_was_ended_underneath_is_unproven_and_its_message_follows_the_truth() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    // Whether the business row is there afterwards: some are committed by the body itself.
    let mut expected = Vec::new();
    for (id, (statements, there)) in (100..).zip(Db::ENDED_UNDERNEATH.iter().copied()) {
        let Err(error) = committed_after(&world, &messenger, id, statements).await else {
            panic!("committed after {statements:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Unproven, "{statements:?}: {error}");
        assert!(error.body_ran());
        let text = error.to_string();
        assert!(
            text.contains("`it::calls::fenced` was not committed, because its fence is not in place"),
            "{text}"
        );
        assert!(text.contains("ended underneath"), "{text}");
        if there {
            expected.push(id);
        }
        // The pool's only connection works for the next call, too.
        committed_after(&world, &messenger, id + 100, &[]).await.unwrap_or_else(|error| {
            panic!("the call after {statements:?} failed: {error}");
        });
        expected.push(id + 100);
    }
    expected.sort_unstable();
    the_truth(&world, &messenger, &expected).await;
}

/// The proof is about the transaction. A body that takes the row out of it is noticed where `commit` writes to it.
#[tokio::test]
async fn a_fence_row_that_is_gone_can_not_be_written_to() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    for (id, statement) in (1..).zip(Db::NO_FENCE) {
        for withheld in [false, true] {
            let body = async {
                let mut tx = begin(&world.shop).await?;
                World::write(&mut tx, id).await?;
                _ = Db::run(&mut tx, *statement).await;
                if withheld {
                    withhold()?;
                } else {
                    tx.amend(&order(id))?;
                }
                Ok(tx.commit().await?)
            };
            let ended = messenger.scope(async { fenced(&order(id), body).await }).await;
            let error = ended.map_err(ShopError::message).expect_err("no fence");
            assert_eq!(error.kind(), ErrorKind::Unproven, "{statement}: {error}");
        }
    }
    the_truth(&world, &messenger, &[]).await;
    committed_after(&world, &messenger, 9, &[]).await.expect("the tables are unharmed");
    the_truth(&world, &messenger, &[9]).await;
}

#[tokio::test]
async fn a_transaction_that_was_ended_underneath_and_then_dropped_leaves_a_clean_connection() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let mut expected = Vec::new();
    for (id, (statement, there)) in (1..).zip([("COMMIT", true), ("ROLLBACK", false)]) {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            tx.execute(statement).await?;
            Err(ShopError::Declined)
        };
        messenger.scope(async { fenced::<()>(&order(id), body).await }).await.expect_err("declined");
        if there {
            expected.push(id);
        }
        committed_after(&world, &messenger, id + 10, &[]).await.unwrap_or_else(|error| {
            panic!("the call after a dropped {statement} failed: {error}");
        });
        expected.push(id + 10);
    }
    expected.sort_unstable();
    the_truth(&world, &messenger, &expected).await;
}

#[tokio::test]
async fn savepoints_are_the_bodys_own_affair() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        let mut kept = tx.begin().await?;
        World::write(&mut kept, 1).await?;
        kept.commit().await?;
        let mut dropped = tx.begin().await?;
        World::write(&mut dropped, 2).await?;
        drop(dropped);
        tx.execute("SAVEPOINT mine").await?;
        World::write(&mut tx, 3).await?;
        tx.execute("ROLLBACK TO SAVEPOINT mine").await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    world.settled(&messenger).await;
    the_truth(&world, &messenger, &[1]).await;
}
