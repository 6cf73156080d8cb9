//! A process that stood still: others settle its messages, and then it goes on.

use std::sync::mpsc::Sender;
use std::time::Duration;

use it::{
    Dialect, Gate, Order, Place, Process, Reply, ShopError, counted, fast, fenced, gate, handled, listed,
    order, run, wait_until,
};
use sqlx::Pool;
use transactional_message::{Error, ErrorKind, MessageInfo, MessageState, Messenger, begin};

use crate::{Db, World};

/// Runs `body` in a process that stands still until it is told to go on: the body blocks its only
/// thread, so that no lease is renewed, as when a virtual machine is paused.
fn paused<F, Fut>(world: &World, body: F) -> (Process, Sender<()>)
where
    F: FnOnce(Messenger, Pool<Db>, Gate) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (go_on, gate) = gate();
    let elsewhere = world.elsewhere();
    let builder = elsewhere.builder().consumer(elsewhere.consumer());
    let place = world.place.clone();
    let process = Process::start(move || async move {
        let messenger = World::start_to_stand_still(builder).await;
        body(messenger.clone(), place.pool("shop", 1), gate).await;
        assert!(messenger.shutdown(Duration::from_secs(30)).await, "shuts down in time");
    });
    (process, go_on)
}

/// The only message.
async fn only(messenger: &Messenger, state: MessageState) -> MessageInfo {
    wait_until(&format!("the message to be {state}"), async || {
        counted(messenger).await.is_some_and(|stats| stats.count(state) == 1)
    })
    .await;
    messenger.admin().list(state, None, 2).await.expect("lists").remove(0)
}

/// A handled body that ends with `result` after it was given up, and what others made of it.
async fn given_up(
    world: &World,
    words: &[Reply],
    attempts: u32,
    state: MessageState,
    ends_well: bool,
) -> Messenger {
    let settings = fast().check_back_attempts(attempts);
    let other = world.messenger_with(settings).await;
    world.oracle.say(1, words.to_vec());
    let (process, go_on) = paused(world, move |messenger, _, gate| async move {
        let body = async move {
            gate.wait();
            if ends_well { Ok(()) } else { Err(ShopError::Declined) }
        };
        let ended = messenger.scope(async { handled(&order(1), body).await }).await;
        assert_eq!(ended.is_ok(), ends_well, "the caller gets what the body said");
    });
    only(&other, state).await;
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&other).await;
    other
}

#[tokio::test]
async fn a_late_ok_outranks_a_check_backs_cancel() {
    let world = World::new().await;
    let other = given_up(&world, &[Reply::Cancel], 20, MessageState::Cancelled, true).await;
    let delivered = only(&other, MessageState::Delivered).await;
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(world.effects(delivered.id).await, 1);
    assert_eq!(world.oracle.asked(1).len(), 1);
}

#[tokio::test]
async fn a_late_ok_delivers_a_parked_message() {
    let world = World::new().await;
    given_up(&world, &[Reply::Unknown], 2, MessageState::Parked, true).await;
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(world.oracle.asked(1).len(), 2);
}

#[tokio::test]
async fn a_late_ok_after_a_check_backs_confirm_delivers_nothing_more() {
    let world = World::new().await;
    let other = given_up(&world, &[Reply::Confirm], 20, MessageState::Delivered, true).await;
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(other.stats().await.expect("counts").delivered, 1);
}

#[tokio::test]
async fn a_late_err_does_not_take_back_what_was_delivered_or_decide_what_was_parked() {
    let world = World::new().await;
    let other = given_up(&world, &[Reply::Confirm], 20, MessageState::Delivered, false).await;
    assert_eq!(other.stats().await.expect("counts").delivered, 1);

    let world = World::new().await;
    let other = given_up(&world, &[Reply::Unknown], 1, MessageState::Parked, false).await;
    assert_eq!(other.stats().await.expect("counts").parked, 1);
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn a_transaction_that_comes_after_the_tombstone_is_fenced_and_leaves_a_clean_connection() {
    let world = World::new().await;
    let other = world.messenger().await;
    let (process, go_on) = paused(&world, |messenger, shop, gate| async move {
        let body = async {
            gate.wait();
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 1).await?;
            Ok(tx.commit().await?)
        };
        let error = messenger.scope(async { fenced(&order(1), body).await }).await.expect_err("fenced");
        let error: Error = error.message();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(error.body_ran());
        assert!(error.to_string().contains("was cancelled by a check-back before its transaction began"));
        assert!(error.to_string().contains("fenced"), "the function is named: {error}");

        // The next borrower of the pool's only connection.
        run(&shop, "INSERT INTO orders (id) VALUES (2)").await.expect("inserts");
        // The same work again, as a call of its own.
        let body = async {
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 3).await?;
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(3), body).await }).await.expect("committed");
    });
    only(&other, MessageState::Cancelled).await;
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&other).await;
    assert_eq!(world.orders().await, [2, 3]);
    assert_eq!(world.listener.orders(), [3]);
    assert_eq!(world.fences(2).await, 1);
}

#[tokio::test]
async fn what_was_committed_before_the_pause_is_delivered_during_it_and_once() {
    let world = World::new().await;
    let other = world.messenger().await;
    let (process, go_on) = paused(&world, |messenger, shop, gate| async move {
        let body = async {
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 1).await?;
            tx.amend(&Order { note: "amended".into(), ..order(1) })?;
            tx.commit().await?;
            gate.wait();
            Ok(())
        };
        messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    });
    only(&other, MessageState::Delivered).await;
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&other).await;
    let heard = world.listener.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].body.contains("amended"), "{heard:?}");
}

#[tokio::test]
async fn a_transaction_that_is_open_during_the_pause_is_waited_for() {
    let world = World::new().await;
    let other = world.messenger().await;
    let (process, go_on) = paused(&world, |messenger, shop, gate| async move {
        let body = async {
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 1).await?;
            gate.wait();
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    });
    // It was asked, and the answer was "not yet".
    wait_until("the fence to give no answer", async || {
        let halves = listed(&other, MessageState::Half, 2).await;
        halves.iter().flatten().next().is_some_and(|half| {
            half.attempts > 1 && half.reason.as_deref().is_some_and(|reason| reason.contains(Db::LOCKED))
        })
    })
    .await;
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&other).await;
    assert_eq!(world.orders().await, [1]);
    assert_eq!(world.listener.orders(), [1]);
}

/// Deletes the message, as if the store had been restored from a backup.
async fn forget(world: &World) {
    let gone = run(&world.store(), "DELETE FROM tm_message WHERE state = 0").await;
    assert_eq!(gone.expect("deletes"), 1);
}

#[tokio::test]
async fn a_message_that_the_store_lost_is_stored_anew_by_the_ok_of_its_body() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async {
        forget(&world).await;
        Ok(())
    };
    messenger.scope(async { handled(&order(1), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;

    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.amend(&Order { note: "amended".into(), ..order(2) })?;
        tx.commit().await?;
        forget(&world).await;
        Ok(())
    };
    messenger.scope(async { fenced(&order(2), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(world.listener.orders(), [1, 2]);
    assert!(world.listener.heard_of(2)[0].body.contains("amended"));
}
