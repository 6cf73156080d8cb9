//! Messages that the body decides on.

use std::time::Duration;

use it::{Dialect, Process, ShopError, fast, fenced, handled_twice, number, order, run, wait_until};
use sqlx::Transaction;
use transactional_message::{
    ErrorKind, Message, MessageId, MessageState, Messenger, begin, enter, send, transactional_message,
    withhold,
};

use crate::{Db, World};

/// A function that names no message. What it sends, its body knows.
#[transactional_message(fence)]
pub(super) async fn decides(
    body: impl Future<Output = Result<(), ShopError>> + Send,
) -> Result<(), ShopError> {
    body.await
}

/// In its caller's transaction.
#[transactional_message(fence)]
async fn decides_in(tx: &mut Transaction<'_, Db>, id: u64, ok: bool) -> Result<(), ShopError> {
    let mut entered = enter(&mut *tx).await?;
    World::write(tx, id).await?;
    entered.send(sold(id))?;
    send(sold(id + 100)).await?;
    if !ok {
        return Err(ShopError::Declined);
    }
    Ok(entered.done(tx).await?)
}

pub(crate) fn sold(id: u64) -> Message {
    Message::json("shop", "item.sold", &order(id)).expect("encodes").business_key(id)
}

/// A store of its own, and one in the business database. On SQLite, the second one is in a file that has one writer.
const STORES: [&str; 2] = ["store", "shop"];

pub(super) async fn messenger(world: &World, store: &str) -> Messenger {
    let settings = fast().check_after(Duration::from_mins(10));
    World::start(world.builder_on(store).settings(settings).consumer(world.consumer())).await
}

#[tokio::test]
async fn as_many_as_the_body_likes_are_sent_if_it_commits() {
    for store in STORES {
        let world = World::new().await;
        let messenger = messenger(&world, store).await;
        for (id, count) in [(10, 0), (20, 1), (30, 5)] {
            for commits in [true, false] {
                let first = id + if commits { 0 } else { 100 };
                let body = async {
                    let mut tx = begin(&world.shop).await?;
                    World::write(&mut tx, first).await?;
                    for number in 0..count {
                        if number % 2 == 0 {
                            tx.send(sold(first + number))?;
                        } else {
                            send(sold(first + number)).await?;
                        }
                    }
                    if commits { Ok(tx.commit().await?) } else { Err(ShopError::Declined) }
                };
                let ended = messenger.scope(decides(body)).await;
                assert_eq!(ended.is_ok(), commits, "{ended:?}");
            }
        }
        world.settled(&messenger).await;
        assert_eq!(world.effects_of_orders().await, [20, 30, 31, 32, 33, 34], "{store}");
        assert_eq!(world.orders().await, [10, 20, 30]);
        assert_eq!((world.fences(1).await, world.fences(2).await, world.fences(3).await), (2, 0, 1));
        assert_eq!(messenger.stats().await.expect("counts").delivered, 6);
        messenger.shutdown(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn besides_those_of_the_attribute() {
    for store in STORES {
        let world = World::new().await;
        let messenger = messenger(&world, store).await;
        for (id, commits) in [(1, true), (2, false)] {
            let body = async {
                let mut tx = begin(&world.shop).await?;
                World::write(&mut tx, id).await?;
                tx.send(sold(id + 10))?;
                tx.send(sold(id + 20))?;
                tx.amend(&order(id))?;
                if commits { Ok(tx.commit().await?) } else { Err(ShopError::Declined) }
            };
            let ended = messenger.scope(fenced(&order(id), body)).await;
            assert_eq!(ended.is_ok(), commits, "{ended:?}");
        }
        world.settled(&messenger).await;
        assert_eq!(world.effects_of_orders().await, [1, 11, 21], "{store}");
        assert_eq!(world.fences(1).await, 2, "one for the attribute's, one for the body's");
        messenger.shutdown(Duration::from_secs(20)).await;
    }
}

/// A fence row must not speak for what an earlier transaction of the call took back.
#[tokio::test]
async fn a_rollback_takes_back_what_was_decided() {
    for store in STORES {
        let world = World::new().await;
        let messenger = messenger(&world, store).await;
        for (id, named) in [(1, false), (2, true)] {
            let body = async {
                let mut tx = begin(&world.shop).await?;
                tx.send(sold(id + 10))?;
                tx.rollback().await?;
                let mut tx = begin(&world.shop).await?;
                tx.send(sold(id + 20))?;
                drop(tx);
                let mut tx = begin(&world.shop).await?;
                World::write(&mut tx, id).await?;
                tx.send(sold(id + 30))?;
                Ok(tx.commit().await?)
            };
            let ended = if named {
                messenger.scope(fenced(&order(id), body)).await
            } else {
                messenger.scope(decides(body)).await
            };
            ended.expect("commits");
        }
        world.settled(&messenger).await;
        assert_eq!(world.effects_of_orders().await, [2, 31, 32], "{store}");
        messenger.shutdown(Duration::from_secs(20)).await;
    }
}

/// The halves are in the store by then. No row may say that they are to be sent: not even for a moment, in which the
/// process could die.
#[tokio::test]
async fn a_commit_that_fails_takes_back_what_was_decided_and_the_body_may_begin_again() {
    for (store, named) in STORES.into_iter().flat_map(|store| [(store, false), (store, true)]) {
        let world = World::with_connections(1).await;
        let messenger = messenger(&world, store).await;
        let (outside, mut expected) = (world.elsewhere().shop, Vec::new());
        for (id, (statements, took_effect)) in (1..).zip(Db::ENDED_UNDERNEATH.iter().copied()) {
            let body = async {
                let mut tx = begin(&world.shop).await?;
                tx.send(sold(id))?;
                for statement in statements {
                    // Whatever they say.
                    let _ = Db::run(&mut tx, *statement).await;
                }
                let rows = "SELECT count(*) FROM tm_fence WHERE outcome = 1";
                let before = number(&outside, rows).await;
                let error = tx.commit().await.expect_err("ended underneath");
                assert_eq!(error.kind(), ErrorKind::Unproven, "{statements:?}: {error}");
                assert_eq!(number(&outside, rows).await, before, "{statements:?}");
                let mut tx = begin(&world.shop).await?;
                World::write(&mut tx, id + 500).await?;
                tx.send(sold(id + 500))?;
                Ok(tx.commit().await?)
            };
            let ended = if named {
                messenger.scope(fenced(&order(id + 900), body)).await
            } else {
                messenger.scope(decides(body)).await
            };
            match (named, took_effect) {
                (true, false) => expected.extend([id + 500, id + 900]),
                (false, false) => expected.push(id + 500),
                // Each is told of by the row that was committed underneath.
                (false, true) => expected.extend([id, id + 500]),
                (true, true) => {
                    let error = ended.expect_err("one call has one transaction").message();
                    assert_eq!(error.kind(), ErrorKind::AlreadyCommitted, "{error}");
                    expected.push(id + 900);
                    continue;
                }
            }
            ended.expect("the second time");
        }
        world.settled(&messenger).await;
        expected.sort_unstable();
        assert_eq!(world.effects_of_orders().await, expected, "{store}");
        messenger.shutdown(Duration::from_secs(20)).await;
        world.shop_is_clean().await;
    }
}

#[tokio::test]
async fn after_a_refused_commit_a_body_may_have_nothing_to_send() {
    let world = World::new().await;
    let messenger = messenger(&world, "store").await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.send(sold(1))?;
        let _ = Db::run(&mut tx, "ROLLBACK").await;
        tx.commit().await.expect_err("ended underneath");
        Ok(withhold()?)
    };
    messenger.scope(decides(body)).await.expect("ok");
    world.count(&messenger, MessageState::Cancelled, 1).await;
}

/// What a try has left behind that nobody could report, when the next one has committed.
#[tokio::test]
async fn a_dead_process_leaves_each_transaction_its_own_answer() {
    for store in STORES {
        let world = World::new().await;
        let elsewhere = world.elsewhere();
        let (builder, shop) = (elsewhere.builder_on(store), elsewhere.shop);
        let (reached, wait) = tokio::sync::oneshot::channel();
        let process = Process::start(move || async move {
            let messenger = World::start(builder).await;
            let body = async {
                let mut tx = begin(&shop).await?;
                tx.send(sold(1))?;
                let _ = Db::run(&mut tx, "ROLLBACK").await;
                tx.commit().await.expect_err("ended underneath");
                let mut tx = begin(&shop).await?;
                World::write(&mut tx, 2).await?;
                tx.send(sold(2))?;
                tx.commit().await?;
                reached.send(()).expect("waits");
                std::future::pending().await
            };
            let _ = messenger.scope(decides(body)).await;
        });
        wait.await.expect("gets there");
        process.kill().await;
        let messenger = messenger(&world, store).await;
        world.count(&messenger, MessageState::Delivered, 1).await;
        world.settled(&messenger).await;
        assert_eq!(world.effects_of_orders().await, [2], "{store}");
        messenger.shutdown(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn without_a_store_nothing_is_committed() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let outage = world.outage_without_table().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        tx.send(sold(1))?;
        Ok(tx.commit().await?)
    };
    let error = messenger.scope(decides(body)).await.expect_err("no store").message();
    assert_eq!((error.kind(), error.body_ran()), (ErrorKind::Schema, true), "{error}");
    assert!(error.to_string().contains("could not be stored: its transaction was rolled back"), "{error}");
    outage.end().await;
    world.settled(&messenger).await;
    assert!(world.orders().await.is_empty() && world.listener.orders().is_empty());
    world.shop_is_clean().await;
}

#[tokio::test]
async fn what_is_withheld_is_not_sent() {
    for store in STORES {
        let world = World::new().await;
        let messenger = messenger(&world, store).await;
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, 1).await?;
            tx.send(sold(1))?;
            withhold()?;
            Ok(tx.commit().await?)
        };
        messenger.scope(decides(body)).await.expect("commits");
        assert_eq!(messenger.stats().await.expect("counts").half, 0);
        assert_eq!((world.fences(1).await, world.fences(3).await), (0, 1));
        messenger.shutdown(Duration::from_secs(20)).await;
        assert!(world.listener.orders().is_empty());
    }
}

/// A call that sends nothing leaves a fence row behind, and no message that it would be deleted with.
#[tokio::test]
async fn the_row_of_a_call_that_sends_nothing_is_deleted() {
    let world = World::new().await;
    let settings = fast()
        .retention(Duration::from_millis(100))
        .check_back_horizon(Duration::from_millis(90))
        .janitor_interval(Duration::from_millis(50));
    let messenger = world.messenger_with(settings).await;
    let body = async { Ok(begin(&world.shop).await?.commit().await?) };
    messenger.scope(decides(body)).await.expect("commits");
    let mut tx = world.shop.begin().await.expect("begins");
    let entered = async { Ok(enter(&mut tx).await?.done(&mut tx).await?) };
    messenger.scope(async { decides(entered).await }).await.expect("enters");
    tx.commit().await.expect("commits");
    wait_until("the fence rows to be gone", async || {
        number(&world.shop, "SELECT count(*) FROM tm_fence").await == 0
    })
    .await;
}

#[tokio::test]
async fn in_the_callers_transaction() {
    for store in STORES {
        let world = World::new().await;
        let messenger = messenger(&world, store).await;
        for (id, ok, commits) in [(1, true, true), (2, true, false), (3, false, true)] {
            let mut tx = world.shop.begin().await.expect("begins");
            let ended = messenger.scope(decides_in(&mut tx, id, ok)).await;
            assert_eq!(ended.is_ok(), ok, "{ended:?}");
            let end = if commits { tx.commit().await } else { tx.rollback().await };
            end.expect("ends");
        }
        world.count(&messenger, MessageState::Delivered, 2).await;
        assert_eq!(world.effects_of_orders().await, [1, 101], "{store}");
        messenger.shutdown(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn in_the_callers_transaction_besides_that_of_the_attribute() {
    let world = World::new().await;
    let messenger = messenger(&world, "store").await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        let mut entered = enter(&mut tx).await?;
        entered.send(sold(11))?;
        Ok(entered.done(&mut tx).await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    tx.commit().await.expect("commits");
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(world.effects_of_orders().await, [1, 11]);
}

/// Said while the halves are being stored, it would be told "yes", and forgotten.
#[tokio::test]
async fn what_is_said_while_it_commits_comes_too_late() {
    let world = World::new().await;
    let messenger = world.messenger_with(fast().half_timeout(Duration::from_mins(1))).await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        tx.send(sold(1))?;
        let outage = world.outage("store").await;
        let mut commit = std::pin::pin!(tx.commit());
        assert!(futures_util::poll!(&mut commit).is_pending(), "the store does not answer");
        let late = send(sold(2)).await.expect_err("it is being committed");
        assert!(late.to_string().contains("`send` came while the transaction"), "{late}");
        assert_eq!(withhold().expect_err("too late").kind(), ErrorKind::Misuse);
        outage.end().await;
        Ok(commit.await?)
    };
    messenger.scope(decides(body)).await.expect("commits");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}

#[tokio::test]
async fn what_can_not_be_sent_says_why() {
    fn refused(sent: Result<MessageId, transactional_message::Error>, kind: ErrorKind, words: &str) {
        let error = sent.expect_err("refused");
        assert_eq!((error.kind(), error.body_ran()), (kind, true), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }

    let world = World::new().await;
    let messenger = world.messenger().await;
    refused(send(sold(1)).await, ErrorKind::Misuse, "there is no #[transactional_message] call here");
    let body = async {
        let words = "without an open fenced transaction, which its message would belong to";
        refused(send(sold(1)).await, ErrorKind::Misuse, words);
        let mut tx = begin(&world.shop).await?;
        let long = Message::json("shop", "x".repeat(256), &order(1)).expect("encodes");
        refused(tx.send(long), ErrorKind::InvalidMessage, "routing key has 256 bytes");
        tx.commit().await?;
        refused(send(sold(1)).await, ErrorKind::Misuse, words);
        Ok(())
    };
    messenger.scope(async { decides(body).await }).await.expect("ok");
    let body = async {
        refused(send(sold(1)).await, ErrorKind::Misuse, "several check-back handlers answer");
        Ok(())
    };
    messenger.scope(async { handled_twice(&order(1), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 2).await;
    run(&world.shop, "DELETE FROM orders").await.expect("works");
}
