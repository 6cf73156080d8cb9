//! The store is gone for a while: nothing is lost, nothing is guessed, callers get their own answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use it::{
    Dialect, Order, Process, ShopError, counted, fast, fenced, handled, number, order, run, wait_until,
};
use transactional_message::{ErrorKind, MessageState, Messenger, begin};

use crate::{Db, World};

#[tokio::test]
async fn without_a_store_the_body_does_not_run_and_the_caller_learns_that() {
    let world = World::new().await;
    let impatient = world.messenger_with(fast().half_timeout(Duration::from_millis(200))).await;
    let messenger = world.messenger().await;
    let ran = AtomicBool::new(false);
    for hold_lock in [true, false] {
        let outage = if hold_lock { world.outage("store").await } else { world.outage_without_table().await };
        let body = async {
            ran.store(true, Ordering::SeqCst);
            Ok(())
        };
        // A lock never answers. A table that is missing is an answer, which the other one waits for.
        let (own, kind) =
            if hold_lock { (&impatient, ErrorKind::Unavailable) } else { (&messenger, ErrorKind::Schema) };
        let error = own.scope(async { handled(&order(1), body).await }).await.expect_err("no store");
        let error = error.message();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.body_ran());
        let text = error.to_string();
        assert!(text.contains("handled` could not be stored, so its body did not run"), "{text}");
        outage.end().await;
        if hold_lock {
            // It lands late, and its withdrawal is tried once: the next outage must not be in its way.
            world.count(&messenger, MessageState::Cancelled, 1).await;
        }
    }
    assert!(!ran.load(Ordering::SeqCst));
    // The store is back, and what landed late sends nothing.
    wait_until("the store to take halves again", async || world.handle(&messenger, 2).await.is_ok()).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [2]);
    assert!(world.oracle.questions().is_empty());
}

/// What a body does that ends while the store is gone.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Handled,
    HandledErr,
    Fenced,
    FencedErr,
}

async fn gone_at_the_end(hold_lock: bool) {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for (id, kind) in (1..).zip([Kind::Handled, Kind::HandledErr, Kind::Fenced, Kind::FencedErr]) {
        let begins =
            async || if hold_lock { world.outage("store").await } else { world.outage_without_table().await };
        let (began, outage_began) = tokio::sync::oneshot::channel();
        let ends = async {
            began.send(begins().await).expect("kept");
            if matches!(kind, Kind::HandledErr | Kind::FencedErr) { Err(ShopError::Declined) } else { Ok(()) }
        };
        let order = order(id);
        let ended = match kind {
            Kind::Handled | Kind::HandledErr => messenger.scope(async { handled(&order, ends).await }).await,
            Kind::Fenced | Kind::FencedErr => {
                let body = async {
                    let mut tx = begin(&world.shop).await?;
                    World::write(&mut tx, id).await?;
                    if matches!(kind, Kind::Fenced) {
                        tx.commit().await?;
                    } else {
                        tx.rollback().await?;
                    }
                    ends.await
                };
                messenger.scope(async { fenced(&order, body).await }).await
            }
        };
        let outage = outage_began.await.expect("began");
        assert_eq!(ended.is_ok(), matches!(kind, Kind::Handled | Kind::Fenced), "{kind:?}: {ended:?}");
        let half = if hold_lock { messenger.stats().await.expect("reads").half } else { 1 };
        assert_eq!(half, 1, "the report can't have got through");
        outage.end().await;
        world.settled(&messenger).await;
    }
    assert_eq!(world.listener.orders(), [1, 3]);
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.cancelled, stats.parked, stats.dead), (2, 2, 0, 0));
    assert!(world.oracle.questions().is_empty());
}

#[tokio::test]
async fn an_ok_while_the_store_is_locked_is_the_callers_and_its_message_goes_out_later() {
    gone_at_the_end(true).await;
}

#[tokio::test]
async fn an_ok_while_the_store_fails_is_the_callers_and_its_message_goes_out_later() {
    gone_at_the_end(false).await;
}

/// A process with a fenced half, to be killed.
async fn doomed(world: &World, id: u64) -> Process {
    let builder = world.elsewhere().builder();
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let body = async {
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(id), body).await }).await;
    });
    wait.await.expect("gets there");
    process
}

/// Waits until the lease of what a dead process left behind is soon to lapse. On a slow machine it may have, and be settled.
async fn about_to_lapse(world: &World, id: u64) {
    let store = world.store();
    let sql = format!("SELECT coalesce(due_at, 0) - {} FROM tm_message WHERE message_key = '{id}'", Db::NOW);
    wait_until("the dead process's lease to be half gone", async || {
        i128::from(number(&store, sql.clone()).await) < fast().lease.as_millis().cast_signed() / 3
    })
    .await;
}

/// Bodies of `own` live through an outage of three leases, and begin their transaction after it.
/// With `dead`, a process has just died, so that others are about to take over its half.
async fn outage_under_live_bodies(
    world: &World,
    own: &Messenger,
    ids: std::ops::Range<u64>,
    dead: Option<u64>,
) {
    let (over, wait) = tokio::sync::watch::channel(false);
    let fenced_body = async |id: u64| {
        let mut wait = wait.clone();
        let body = async {
            wait.wait_for(|over| *over).await.expect("ends");
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        let ended = own.scope(async { fenced(&order(id), body).await }).await;
        assert!(ended.is_ok(), "the live body of {id} was given up: {ended:?}");
    };
    let outage = async {
        let count = ids.end - ids.start;
        let halves = async || counted(own).await.map(|stats| stats.half);
        wait_until("the halves", async || halves().await == Some(count)).await;
        if let Some(id) = dead {
            doomed(world, id).await.kill().await;
            about_to_lapse(world, id).await;
        }
        let store = world.outage("store").await;
        tokio::time::sleep(fast().lease * 3).await;
        store.end().await;
        if dead.is_some() {
            let no_more = async || halves().await.is_some_and(|halves| halves <= count);
            wait_until("the dead process's half to be settled", no_more).await;
        } else {
            // Everybody has had a turn since.
            world.handle(own, ids.end + 1000).await.expect("the store is back");
        }
        over.send(true).expect("waited for");
    };
    tokio::join!(join_all(ids.clone().map(fenced_body)), outage);
}

#[tokio::test]
async fn an_outage_of_three_leases_gives_up_no_live_body() {
    let world = World::new().await;
    let own = world.messenger().await;
    let other = world.messenger_with(fast().poll_interval(Duration::from_millis(2))).await;
    outage_under_live_bodies(&world, &own, 0..20, None).await;
    world.settled(&other).await;
    assert_eq!(world.fences(2).await, 0, "tombstones");
    assert_eq!(world.orders().await, (0..20).collect::<Vec<_>>());
    assert_eq!(world.listener.orders(), (0..20).chain([1020]).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_outage_just_after_another_process_died_gives_up_no_live_body() {
    let world = World::new().await;
    let own = world.messenger().await;
    let other = world.messenger_with(fast().poll_interval(Duration::from_millis(2))).await;
    for round in 0..3 {
        outage_under_live_bodies(&world, &own, round * 10..round * 10 + 10, Some(1000 + round)).await;
    }
    world.settled(&other).await;
    assert_eq!(world.fences(2).await, 3, "tombstones, of the dead processes");
    assert_eq!(world.orders().await, (0..30).collect::<Vec<_>>());
    assert_eq!(world.effects_of_orders().await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_outage_under_handled_bodies_asks_no_question() {
    let world = World::new().await;
    let own = world.messenger().await;
    let other = world.messenger_with(fast().poll_interval(Duration::from_millis(2))).await;
    let (over, wait) = tokio::sync::watch::channel(false);
    let body = async |id: u64| {
        world.oracle.say(id, [it::Reply::Cancel]);
        let mut wait = wait.clone();
        let body = async {
            wait.wait_for(|over| *over).await.expect("ends");
            Ok(())
        };
        own.scope(async { handled(&order(id), body).await }).await.expect("ok");
    };
    let outage = async {
        wait_until("the halves", async || counted(&own).await.is_some_and(|stats| stats.half == 20)).await;
        let store = world.outage("store").await;
        tokio::time::sleep(fast().lease * 3).await;
        store.end().await;
        // Everybody has had a turn since.
        world.handle(&own, 20).await.expect("the store is back");
        over.send(true).expect("waited for");
    };
    tokio::join!(join_all((0..20).map(body)), outage);
    world.settled(&other).await;
    assert_eq!(world.oracle.questions(), []);
    assert_eq!(world.listener.orders(), (0..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_is_gone_for_the_amended_confirm_delivers_the_amended_payload() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let (began, outage) = tokio::sync::oneshot::channel();
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.amend(&Order { note: "amended".into(), ..order(1) })?;
        tx.commit().await?;
        began.send(world.outage_without_table().await).expect("kept");
        Ok(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    outage.await.expect("began").end().await;
    world.settled(&messenger).await;
    assert!(world.listener.heard_of(1)[0].body.contains("amended"));
}

/// The store fails over, at the moment at which a fence is asked, to a replica that never had the half.
#[tokio::test]
async fn what_a_fence_says_of_a_call_that_just_ended_waits_for_the_store_and_outlives_its_half() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let (began, outage_began) = tokio::sync::oneshot::channel();
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        tx.commit().await?;
        run(&world.store(), "DELETE FROM tm_message").await.expect("deletes");
        began.send(world.outage_without_table().await).expect("kept");
        Err(ShopError::Declined)
    };
    messenger.scope(async { fenced::<()>(&order(1), body).await }).await.expect_err("declined");
    let outage = outage_began.await.expect("began");
    // Sets the pace: the outage is to be as long as a lease. What is looked at comes after it.
    tokio::time::sleep(fast().lease).await;
    outage.end().await;
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.listener.orders(), [1]);
}

/// The relay may publish from memory what was confirmed after an outage that was longer than a lease.
#[tokio::test]
async fn a_confirm_that_waited_out_an_outage_is_ours_from_when_it_succeeds() {
    let world = World::new().await;
    // Far longer than what comes after it takes.
    let lease = Duration::from_secs(10);
    let messenger = world.messenger_with(fast().lease(lease)).await;
    let (began, outage_began) = tokio::sync::oneshot::channel();
    let body = async {
        began.send(world.outage_without_table().await).expect("kept");
        Ok(())
    };
    messenger.scope(async { handled(&order(1), body).await }).await.expect("ok");
    let outage = outage_began.await.expect("began");
    let store = world.store();
    let lapsed = format!("SELECT count(*) FROM away WHERE due_at < {}", Db::NOW);
    wait_until("the lease to be over", async || number(&store, lapsed.clone()).await == 1).await;
    let over = std::time::Instant::now();
    outage.end().await;
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert!(over.elapsed() < lease, "it waited one more lease: {:?}", over.elapsed());
    assert!(world.oracle.questions().is_empty());
}
