//! Fenced functions that work in their caller's transaction.

use std::time::Duration;

use it::{
    Dialect, Log, Order, ShopError, fast, fenced, fenced_amendable, fenced_twice, listed, order, run, texts,
    wait_until,
};
use sqlx::{AssertSqlSafe, Connection, Transaction};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{
    ErrorKind, MessageState, Messenger, begin, enter, enter_sql, transactional_message, withhold,
};

use crate::{Db, World};

/// As in a repository layer: whoever calls it has the transaction.
#[transactional_message(exchange = "shop", routing_key = "order.fenced", business_key = id, fence, message = order(id))]
pub(crate) async fn pay_in(tx: &mut Transaction<'_, Db>, id: u64, declined: bool) -> Result<(), ShopError> {
    let entered = enter(&mut *tx).await?;
    World::write(tx, id).await?;
    if declined {
        return Err(ShopError::Declined);
    }
    Ok(entered.done(tx).await?)
}

/// A messenger that waits for its callers for as long as a test takes.
async fn patient(world: &World) -> Messenger {
    world.messenger_with(fast().check_after(Duration::from_mins(10))).await
}

#[tokio::test]
async fn what_the_caller_commits_is_sent() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 1, false)).await.expect("pays");
    messenger.scope(pay_in(&mut tx, 2, false)).await.expect("pays");
    assert_eq!(messenger.stats().await.expect("counts").half, 2, "the caller has not committed");
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(world.effects_of_orders().await, world.orders().await);
    assert_eq!((world.fences(1).await, world.fences(3).await), (2, 0));
}

#[tokio::test]
async fn what_the_caller_rolls_back_is_not_sent() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 1, false)).await.expect("pays");
    tx.rollback().await.expect("rolls back");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(world.fences(2).await, 1, "closed, once `check_after` was over");
    assert!(world.orders().await.is_empty() && world.listener.orders().is_empty());
}

/// The caller commits what a function has done that said no.
#[tokio::test]
async fn of_two_calls_in_a_transaction_the_one_that_failed_sends_nothing() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 1, true)).await.expect_err("declined");
    messenger.scope(pay_in(&mut tx, 2, false)).await.expect("pays");
    let (third, (entered, wait)) = (order(3), tokio::sync::oneshot::channel());
    let dropped = async {
        let body = async {
            let _entered = enter(&mut tx).await?;
            entered.send(()).expect("waits");
            std::future::pending::<Result<(), ShopError>>().await
        };
        tokio::select! {
            ended = fenced(&third, body) => panic!("{ended:?}"),
            entered = wait => entered.expect("enters"),
        }
    };
    messenger.scope(dropped).await;
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Delivered, 1).await;
    world.count(&messenger, MessageState::Cancelled, 2).await;
    assert_eq!(world.effects_of_orders().await, [2]);
    assert_eq!((world.fences(1).await, world.fences(3).await), (1, 2));
}

#[tokio::test]
async fn a_nested_transaction_that_is_rolled_back_takes_its_message_with_it() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 1, false)).await.expect("pays");
    let mut nested = tx.begin().await.expect("begins");
    messenger.scope(pay_in(&mut nested, 2, false)).await.expect("pays");
    nested.rollback().await.expect("rolls back");
    let mut nested = tx.begin().await.expect("begins");
    messenger.scope(pay_in(&mut nested, 3, false)).await.expect("pays");
    nested.commit().await.expect("commits");
    tx.commit().await.expect("commits");
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [1, 3]);
    assert_eq!(world.effects_of_orders().await, [1, 3]);
}

#[tokio::test]
async fn a_function_with_its_own_transaction_calls_one_that_enters_it() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        let inner = async {
            let entered = enter(&mut *tx).await?;
            World::write(&mut tx, 2).await?;
            Ok(entered.done(&mut *tx).await?)
        };
        // SQLite has one writer: the inner half message would wait for the outer transaction.
        let called = fenced(&order(2), inner).await;
        assert_eq!(called.is_err(), Db::ONE_WRITER, "{called:?}");
        World::write(&mut tx, 1).await?;
        tx.commit().await?;
        Ok::<_, ShopError>(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("pays");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, world.orders().await);
}

#[tokio::test]
async fn without_done_an_ok_is_parked() {
    let (log, _guard) = Log::listen(LevelFilter::ERROR);
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        let _entered = enter(&mut tx).await?;
        World::write(&mut tx, 1).await?;
        Ok(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Parked, 1).await;
    let told = log.lines_with(&["returned Ok without calling `done`:"]);
    assert!(told.len() == 1 && told[0].contains("it::calls::fenced"), "{told:?}");
}

#[tokio::test]
async fn what_is_withheld_is_not_sent() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        let entered = enter(&mut tx).await?;
        withhold()?;
        entered.done(&mut tx).await?;
        Ok(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    let body = async {
        enter(&mut tx).await?.done(&mut tx).await?;
        assert_eq!(withhold().expect_err("too late").kind(), ErrorKind::Misuse);
        Ok(())
    };
    messenger.scope(async { fenced(&order(2), body).await }).await.expect("ok");
    tx.commit().await.expect("commits");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [2]);
    assert_eq!((world.fences(1).await, world.fences(3).await), (1, 1));
}

#[tokio::test]
async fn what_is_amended_is_what_is_sent() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        let mut entered = enter(&mut tx).await?;
        entered.amend(&Order { id: 1, note: "amended".into() })?;
        Ok(entered.done(&mut tx).await?)
    };
    messenger.scope(async { fenced_amendable(&order(1), body).await }).await.expect("ok");
    tx.commit().await.expect("commits");
    world.settled(&messenger).await;
    let bodies = texts(&world.books, "SELECT body FROM effects").await;
    assert!(bodies.len() == 1 && bodies[0].contains("amended"), "{bodies:?}");
}

#[tokio::test]
async fn two_messages_have_one_fence_row() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        enter(&mut tx).await?.done(&mut tx).await?;
        Ok(())
    };
    messenger.scope(async { fenced_twice(&order(1), body).await }).await.expect("ok");
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(world.fences(1).await, 1);
}

#[tokio::test]
async fn what_can_not_be_entered_says_why() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut connection = world.shop.acquire().await.expect("acquires");
    let body = async {
        let error = enter(&mut *connection).await.expect_err("no transaction is open");
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(
            error.to_string().contains("without an open transaction: open it with sqlx's `begin`"),
            "{error}"
        );

        let mut tx = connection.begin().await?;
        let entered = enter(&mut tx).await?;
        let error = enter(&mut tx).await.expect_err("entered already");
        assert_eq!(error.kind(), ErrorKind::Misuse);
        let mut other = world.shop.begin().await?;
        let error = entered.done(&mut other).await.expect_err("not this one");
        assert_eq!(error.kind(), ErrorKind::Unproven);
        other.rollback().await?;
        tx.rollback().await?;
        Err(ShopError::Declined)
    };
    messenger.scope(async { fenced::<()>(&order(1), body).await }).await.expect_err("declined");
    world.count(&messenger, MessageState::Cancelled, 1).await;
}

/// A caller that takes longer than `check_after`: nothing is lost, whoever is first.
#[tokio::test]
async fn a_caller_that_takes_long_is_asked_about_and_right_all_the_same() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 1, false)).await.expect("pays");
    wait_until("the fence to have been asked in vain", async || {
        let halves = listed(&messenger, MessageState::Half, 2).await;
        halves.iter().flatten().any(|half| half.reason.is_some())
    })
    .await;
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}

#[tokio::test]
async fn a_shutdown_leaves_what_is_open_to_others() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    messenger.scope(pay_in(&mut tx, 1, false)).await.expect("pays");
    messenger.shutdown(Duration::from_secs(20)).await;
    tx.commit().await.expect("commits");
    let messenger = world.messenger().await;
    world.count(&messenger, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn as_text_for_other_clients() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    for (id, declined) in [(1, false), (2, true)] {
        let mut tx = world.shop.begin().await.expect("begins");
        let body = async {
            let fence = enter_sql()?;
            sqlx::raw_sql(AssertSqlSafe(fence.enter())).execute(&mut *tx).await?;
            World::write(&mut tx, id).await?;
            if declined {
                return Err(ShopError::Declined);
            }
            sqlx::raw_sql(AssertSqlSafe(fence.done())).execute(&mut *tx).await?;
            Ok(())
        };
        let paid = messenger.scope(async { fenced(&order(id), body).await }).await;
        assert_eq!(paid.is_err(), declined, "{paid:?}");
        tx.commit().await.expect("commits");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
    assert_eq!((world.fences(1).await, world.fences(3).await), (1, 1));
}

/// On SQLite, the text opens a transaction of its own instead.
#[tokio::test]
async fn as_text_outside_of_a_transaction_nothing_is_lost() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut connection = world.shop.acquire().await.expect("acquires");
    let body = async {
        let fence = enter_sql()?;
        sqlx::raw_sql(AssertSqlSafe(fence.enter())).execute(&mut *connection).await?;
        World::write(&mut connection, 1).await?;
        sqlx::raw_sql(AssertSqlSafe(fence.done())).execute(&mut *connection).await?;
        Ok::<_, ShopError>(())
    };
    let paid = messenger.scope(async { fenced(&order(1), body).await }).await;
    assert_eq!(paid.is_ok(), Db::ONE_WRITER, "{paid:?}");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, world.orders().await);
}

/// A client that says that it is done, and has not executed it.
#[tokio::test]
async fn as_text_that_comes_too_late_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut texts = None;
    let body = async {
        let fence = enter_sql()?;
        let enter = fence.enter().to_owned();
        texts = Some((enter, fence.done()));
        Ok::<_, ShopError>(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    let (enter, _) = texts.expect("texts");
    let mut tx = world.shop.begin().await.expect("begins");
    let error = sqlx::raw_sql(AssertSqlSafe(enter)).execute(&mut *tx).await.expect_err("closed");
    assert!(error.as_database_error().expect("the database's").is_unique_violation(), "{error}");
    tx.rollback().await.expect("rolls back");
    run(&world.shop, "DELETE FROM orders").await.expect("works");
}

/// As by a body that sends `COMMIT` itself.
#[tokio::test]
async fn a_transaction_that_was_ended_underneath_is_not_done() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for (id, (statements, _)) in (1..).zip(Db::ENDED_UNDERNEATH.iter().copied()) {
        let mut tx = world.shop.begin().await.expect("begins");
        let body = async {
            let entered = enter(&mut tx).await?;
            for statement in statements {
                // Whatever they say.
                let _ = Db::run(&mut tx, *statement).await;
            }
            let error = entered.done(&mut tx).await.expect_err("ended underneath");
            assert_eq!(error.kind(), ErrorKind::Unproven, "{statements:?}: {error}");
            Err::<(), _>(error.into())
        };
        messenger.scope(async { fenced(&order(id), body).await }).await.expect_err("not done");
        let _ = Db::run(&mut tx, "COMMIT").await;
        tx.rollback().await.ok();
    }
    world.settled(&messenger).await;
    assert_eq!(world.fences(1).await, 0);
    assert!(world.listener.orders().is_empty());
}

/// One whose message the store refuses to confirm, in the same round as one whose caller takes longer.
#[tokio::test]
async fn a_poison_row_keeps_no_other_caller_waiting() {
    let (log, _guard) = Log::listen(LevelFilter::DEBUG);
    let world = World::new().await;
    let messenger = patient(&world).await;
    run(&world.store(), Db::poison(1)).await.expect("creates");
    let mut poison = world.shop.begin().await.expect("begins");
    if Db::ONE_WRITER {
        // Two can't both have written.
        messenger.scope(pay_in(&mut poison, 13, false)).await.expect("pays");
        messenger.scope(pay_in(&mut poison, 1, false)).await.expect("pays");
        poison.commit().await.expect("commits");
    } else {
        let mut other = world.shop.begin().await.expect("begins");
        let together = tokio::sync::Barrier::new(2);
        let pay = async |tx: &mut Transaction<'static, Db>, id| {
            let body = async {
                enter(&mut *tx).await?.done(&mut *tx).await?;
                together.wait().await;
                Ok::<_, ShopError>(())
            };
            messenger.scope(async { fenced(&order(id), body).await }).await.expect("ok");
        };
        tokio::join!(pay(&mut poison, 13), pay(&mut other, 1));
        poison.commit().await.expect("commits");
        wait_until("the store to have refused one", async || !log.lines_with(&["poison"]).is_empty()).await;
        other.commit().await.expect("commits");
    }
    world.count(&messenger, MessageState::Delivered, 1).await;
    run(&world.store(), Db::ANTIDOTE).await.expect("drops");
    world.count(&messenger, MessageState::Delivered, 2).await;
}

#[tokio::test]
async fn as_text_what_is_withheld_is_not_sent() {
    let world = World::new().await;
    let messenger = patient(&world).await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        let fence = enter_sql()?;
        sqlx::raw_sql(AssertSqlSafe(fence.enter())).execute(&mut *tx).await?;
        withhold()?;
        sqlx::raw_sql(AssertSqlSafe(fence.done())).execute(&mut *tx).await?;
        Ok::<_, ShopError>(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(world.fences(3).await, 1);
}
