//! A shutdown takes no new calls, finishes what runs, and leaves the rest to the next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::{Action, ShopError, counted, fast, handled, order, vanish, wait_until};
use transactional_message::{ErrorKind, MessageState, Settings};

use crate::World;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn under_load_everything_that_was_ok_is_delivered_or_found_by_the_next_start() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let next = AtomicU64::new(0);
    let ok = std::sync::Mutex::new(Vec::new());
    let caller = async |fenced: bool| {
        loop {
            let id = next.fetch_add(1, Ordering::SeqCst);
            let ended =
                if fenced { world.pay(&messenger, id).await } else { world.handle(&messenger, id).await };
            match ended {
                Ok(()) => ok.lock().expect("sole").push(id),
                Err(ShopError::Message(error)) => {
                    assert_eq!(error.kind(), ErrorKind::NotRunning, "{error}");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let shutdown = async {
        wait_until("some load", async || next.load(Ordering::SeqCst) > 100).await;
        assert!(messenger.shutdown(LONG).await, "everything is done in time");
    };
    tokio::join!(join_all((0..10).map(|n| caller(n % 2 == 0))), shutdown);
    let mut ok = ok.into_inner().expect("sole");
    ok.sort_unstable();
    assert!(ok.len() > 50);

    let after = world.messenger().await;
    world.settled(&after).await;
    assert_eq!(world.effects_of_orders().await, ok, "each that was Ok, once, and no other");
    let stats = after.stats().await.expect("counts");
    assert_eq!((stats.parked, stats.dead), (0, 0));
}

#[tokio::test]
async fn a_deadline_cuts_off_and_the_next_start_goes_on() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.listener.will(0, [Action::Slow(Duration::from_hours(1)), Action::Write]);
    for id in 0..20 {
        world.handle(&messenger, id).await.expect("ok");
    }
    wait_until("the slow one to be under way", async || !world.listener.heard_of(0).is_empty()).await;
    // Whose report is cut off is asked about, and nobody here has an answer.
    world.count(&messenger, MessageState::Half, 0).await;
    let started = Instant::now();
    assert!(!messenger.shutdown(Duration::from_millis(100)).await, "one is not done");
    assert!(started.elapsed() < LONG, "the deadline is kept");
    let after = world.messenger().await;
    world.settled(&after).await;
    let effects = world.effects_of_orders().await;
    assert_eq!(effects, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn bodies_that_run_are_waited_for() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let running = Arc::new(AtomicBool::new(false));
    let (go_on, wait) = tokio::sync::oneshot::channel();
    let body = async {
        running.store(true, Ordering::SeqCst);
        wait.await.expect("goes on");
        running.store(false, Ordering::SeqCst);
        Ok(())
    };
    let order = order(1);
    let call = messenger.scope(async { handled(&order, body).await });
    let shutdown = async {
        wait_until("the body to run", async || running.load(Ordering::SeqCst)).await;
        let in_time = messenger.shutdown(LONG).await;
        assert!(!running.load(Ordering::SeqCst), "the body had ended");
        in_time
    };
    let refused = async {
        wait_until("the body to run", async || running.load(Ordering::SeqCst)).await;
        wait_until("the shutdown to begin", async || world.handle(&messenger, 2).await.is_err()).await;
        go_on.send(()).expect("waits");
    };
    let (ended, in_time, ()) = tokio::join!(call, shutdown, refused);
    ended.expect("ok");
    assert!(in_time);
    assert!(world.listener.orders().contains(&1), "it was delivered on the way out");
    assert!(world.oracle.questions().is_empty());
}

#[tokio::test]
async fn a_body_that_outlives_the_deadline_is_settled_by_the_next_start() {
    let world = World::new().await;
    world.oracle.say(1, [it::Reply::Confirm]);
    let messenger = world.messenger().await;
    let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
    let body = async {
        wait.await.expect("goes on");
        Ok(())
    };
    let order = order(1);
    let call = messenger.scope(async { handled(&order, body).await });
    let shutdown = async {
        wait_until("the half", async || counted(&messenger).await.is_some_and(|stats| stats.half == 1)).await;
        assert!(!messenger.shutdown(Duration::from_millis(50)).await);
        go_on.send(()).expect("waits");
    };
    let (ended, ()) = tokio::join!(call, shutdown);
    ended.expect("the caller gets its Ok all the same");
    let after = world.messenger().await;
    world.settled(&after).await;
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(world.oracle.asked(1).len(), 1);
}

#[tokio::test]
async fn what_waits_for_a_question_or_a_retry_does_not_hold_up_a_shutdown() {
    let world = World::new().await;
    let hour = Duration::from_hours(1);
    let settings = fast().check_after(hour).delivery_backoff(transactional_message::Backoff::new(hour, hour));
    let messenger = World::start(world.builder().settings(settings)).await;
    world.handle(&messenger, 1).await.expect("ok");
    vanish(messenger.scope(async { handled::<()>(&order(2), async { panic!("on purpose") }).await })).await;
    world.count(&messenger, MessageState::Confirmed, 1).await;
    assert!(messenger.shutdown(LONG).await, "nothing is left to be waited for");
    assert!(world.oracle.questions().is_empty());
    let stats = world.messenger().await.stats().await.expect("counts");
    assert_eq!(stats.half, 1);
}

#[tokio::test]
async fn an_idle_shutdown_is_quick_and_a_second_one_does_no_harm() {
    let world = World::new().await;
    let slow = Duration::from_hours(1);
    let settings = Settings::default().poll_interval(slow).janitor_interval(slow);
    let messenger = world.messenger_with(settings).await;
    let started = Instant::now();
    assert!(messenger.shutdown(LONG).await);
    assert!(messenger.shutdown(LONG).await);
    assert!(started.elapsed() < LONG / 3, "it waited for a poll: {:?}", started.elapsed());
    // One that was never started.
    let messenger = world.builder().build().await.expect("builds");
    assert!(messenger.shutdown(LONG).await);
    assert_eq!(world.handle(&messenger, 1).await.expect_err("over").message().kind(), ErrorKind::NotRunning);
}

#[tokio::test]
async fn a_shutdown_gives_its_rows_back_so_that_others_need_not_wait_for_the_lease() {
    let world = World::new().await;
    let settings = fast().lease(Duration::from_hours(1));
    // Nobody takes its messages, so they are still its own when it leaves.
    let leaving = World::start(world.builder().settings(settings)).await;
    for id in 0..5 {
        world.handle(&leaving, id).await.expect("ok");
    }
    world.oracle.say(9, [it::Reply::Confirm]);
    world.vanish(&leaving, 9).await;
    assert!(leaving.shutdown(LONG).await);
    let after = world.messenger().await;
    world.settled(&after).await;
    assert_eq!(world.listener.orders(), [0, 1, 2, 3, 4, 9]);
}
