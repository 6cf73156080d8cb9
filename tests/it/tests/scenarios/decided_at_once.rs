//! Messages that a body decides on, and that are stored when it says so: with another client than sqlx, or with a handler.

use std::time::Duration;

use it::{Reply, ShopError, fenced, handled, order, vanish};
use sqlx::AssertSqlSafe;
use transactional_message::{
    ErrorKind, Message, MessageState, begin, enter, enter_sql, send, send_all, transactional_message,
    withhold,
};

use super::decided::{decides, messenger, sold};
use crate::World;

#[tokio::test]
async fn as_text_for_other_clients() {
    let world = World::new().await;
    let messenger = messenger(&world, "store").await;
    for (id, named, declined) in [(1, false, false), (2, true, false), (3, false, true)] {
        let mut tx = world.shop.begin().await.expect("begins");
        let body = async {
            let fence = enter_sql()?;
            sqlx::raw_sql(AssertSqlSafe(fence.enter())).execute(&mut *tx).await?;
            World::write(&mut tx, id).await?;
            send(sold(id + 10)).await?;
            send(sold(id + 20)).await?;
            if declined {
                return Err(ShopError::Declined);
            }
            sqlx::raw_sql(AssertSqlSafe(fence.done())).execute(&mut *tx).await?;
            Ok(())
        };
        let ended = messenger
            .scope(async { if named { fenced(&order(id), body).await } else { decides(body).await } })
            .await;
        assert_eq!(ended.is_err(), declined, "{ended:?}");
        assert_eq!(messenger.stats().await.expect("counts").confirmed, 0, "not before the commit");
        tx.commit().await.expect("commits");
        world.settled(&messenger).await;
    }
    assert_eq!(world.effects_of_orders().await, [2, 11, 12, 21, 22]);
    assert_eq!(messenger.stats().await.expect("counts").cancelled, 2);
}

/// The caller may have committed: like the message of an attribute, they are nobody's to decide.
#[tokio::test]
async fn without_done_what_was_decided_is_parked() {
    let world = World::new().await;
    let messenger = messenger(&world, "store").await;
    for by_text in [false, true] {
        let mut tx = world.shop.begin().await.expect("begins");
        let body = async {
            if by_text {
                let fence = enter_sql()?;
                sqlx::raw_sql(AssertSqlSafe(fence.enter())).execute(&mut *tx).await?;
                send(sold(1)).await?;
            } else {
                enter(&mut tx).await?.send(sold(2))?;
            }
            Ok(())
        };
        messenger.scope(async { decides(body).await }).await.expect("ok");
        tx.commit().await.expect("commits");
    }
    world.count(&messenger, MessageState::Parked, 2).await;
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn in_the_callers_transaction_what_is_withheld_is_not_sent() {
    let world = World::new().await;
    let messenger = messenger(&world, "store").await;
    for done in [true, false] {
        let mut tx = world.shop.begin().await.expect("begins");
        let body = async {
            let fence = enter_sql()?;
            sqlx::raw_sql(AssertSqlSafe(fence.enter())).execute(&mut *tx).await?;
            send(sold(1)).await?;
            withhold()?;
            if done {
                sqlx::raw_sql(AssertSqlSafe(fence.done())).execute(&mut *tx).await?;
            }
            Ok(())
        };
        messenger.scope(async { decides(body).await }).await.expect("ok");
        tx.commit().await.expect("commits");
    }
    world.count(&messenger, MessageState::Cancelled, 2).await;
    assert_eq!((world.fences(1).await, world.fences(3).await), (0, 2));
}

/// Of which somebody has kept a part that nobody will ever end.
#[tokio::test]
async fn a_body_that_vanishes_leaves_nothing_behind() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let kept = std::sync::Mutex::new(Vec::new());
    let body = async {
        let fence = enter_sql()?;
        send(sold(1)).await?;
        kept.lock().expect("unpoisoned").push(fence);
        panic!("on purpose")
    };
    vanish(messenger.scope(decides(body))).await;
    world.count(&messenger, MessageState::Cancelled, 1).await;
    messenger.shutdown(Duration::from_secs(20)).await;
    assert_eq!(kept.lock().expect("unpoisoned").len(), 1);
}

#[transactional_message(exchange = "shop", routing_key = "order.handled", business_key = "each", name = "it.decided.each",
                        check_back = it::ask, messages = orders)]
async fn handled_each(
    orders: &[it::Order],
    body: impl Future<Output = Result<(), ShopError>> + Send,
) -> Result<(), ShopError> {
    body.await
}

#[tokio::test]
async fn the_handler_of_no_message_answers_for_what_the_body_sends() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async { Ok(send(sold(1)).await.map(drop)?) };
    messenger.scope(async { handled_each(&[], body).await }).await.expect("ok");
    let body = async { Ok(send(sold(4)).await.map(drop)?) };
    messenger.scope(async { handled_each(&[order(2), order(3)], body).await }).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 3, 4]);
}

/// What is stored at once is stored before the effect: a handler is asked about it.
#[tokio::test]
async fn with_a_handler_it_is_stored_at_once() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for (id, ok) in [(1, true), (2, false)] {
        let body = async {
            let stored = send(sold(id + 10)).await?;
            let halves = messenger.admin().list(MessageState::Half, None, 10).await.expect("lists");
            assert!(halves.iter().any(|half| half.id == stored), "{halves:?}");
            if ok { Ok(()) } else { Err(ShopError::Declined) }
        };
        let ended = messenger.scope(async { handled(&order(id), body).await }).await;
        assert_eq!(ended.is_ok(), ok, "{ended:?}");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1, 11]);

    // And of a body of which nobody can say how it ended.
    world.oracle.say(13, [Reply::Confirm]);
    world.oracle.say(3, [Reply::Cancel]);
    let body = async {
        send(sold(13)).await?;
        panic!("on purpose")
    };
    vanish(messenger.scope(async { handled::<()>(&order(3), body).await })).await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1, 11, 13]);
}

/// Nobody can say that it was sent.
#[tokio::test]
async fn a_send_that_is_given_up_sends_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async {
        let outage = world.outage("store").await;
        let given_up = tokio::time::timeout(Duration::from_millis(300), send(sold(11))).await;
        assert!(given_up.is_err(), "the store does not answer: {given_up:?}");
        outage.end().await;
        Ok(())
    };
    messenger.scope(async { handled(&order(1), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}

/// An import, hundreds of lines in one transaction; and the same before what a handler answers for.
#[tokio::test]
async fn many_at_once_all_or_none() {
    const LINES: u64 = 600;
    let world = World::new().await;
    let messenger = messenger(&world, "store").await;
    let lines = |from: u64| (from..from + LINES).map(sold);
    for (from, commits) in [(0, true), (LINES, false)] {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, from).await?;
            let ids = send_all(lines(from)).await?;
            assert_eq!(ids.len() as u64, LINES);
            // One that can't be sent takes the others of its own batch along, and no more.
            let bad = lines(3 * LINES).take(5).chain([Message::json("", "k".repeat(256), &0)?]);
            let error = tx.send_all(bad).expect_err("too long");
            assert_eq!((error.kind(), error.body_ran()), (ErrorKind::InvalidMessage, true));
            if !commits {
                return Err(ShopError::Declined);
            }
            Ok(tx.commit().await?)
        };
        let ended = messenger.scope(async { decides(body).await }).await;
        assert_eq!(ended.is_ok(), commits, "{ended:?}");
    }
    world.settled(&messenger).await;
    let body = async {
        assert!(send_all([]).await?.is_empty());
        let ids = send_all(lines(2 * LINES)).await?;
        assert_eq!((ids.len() as u64, messenger.stats().await?.half), (LINES, LINES + 1));
        Ok(())
    };
    messenger.scope(async { handled(&order(9 * LINES), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 2 * LINES + 1).await;
    let expected: Vec<_> = (0..LINES).chain(2 * LINES..3 * LINES).chain([9 * LINES]).collect();
    assert_eq!(world.effects_of_orders().await, expected);
}
