//! However a body ends: the right messages arrive, each once, and nothing is left over.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use it::{Reply, ShopError, fast, fenced, handled, handled_asking, order, wait_until};
use transactional_message::{MessageState, Messenger, begin, call_id, withhold};

use crate::World;

/// Calls of each case, all at once.
const EACH: usize = 8;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Withheld,
    Err,
    Panic,
    Dropped,
    /// Fenced: behind the commit. Handled: of a function whose errors are asked about.
    LateErr,
    /// Fenced: behind the commit.
    LatePanic,
}

/// How a fenced body ends, and what there is then.
#[derive(Clone, Copy, Debug)]
struct FencedCase {
    end: End,
    committed: bool,
    delivered: bool,
}

const FENCED: [FencedCase; 7] = [
    FencedCase { end: End::Ok, committed: true, delivered: true },
    FencedCase { end: End::LateErr, committed: true, delivered: true },
    FencedCase { end: End::LatePanic, committed: true, delivered: true },
    FencedCase { end: End::Withheld, committed: true, delivered: false },
    FencedCase { end: End::Err, committed: false, delivered: false },
    FencedCase { end: End::Panic, committed: false, delivered: false },
    FencedCase { end: End::Dropped, committed: false, delivered: false },
];

/// How a handled body ends, what its handler answers, how often it is asked, and what becomes of the message.
#[derive(Clone, Copy, Debug)]
struct HandledCase {
    end: End,
    replies: &'static [Reply],
    asked: usize,
    becomes: MessageState,
}

/// The handler is asked at most this often.
const ASKED: usize = 4;

/// What a handler answers about a body of which nobody knows the result.
const ANSWERS: [(&[Reply], usize, MessageState); 5] = [
    (&[Reply::Confirm], 1, MessageState::Delivered),
    (&[Reply::Cancel], 1, MessageState::Cancelled),
    (&[Reply::Unknown, Reply::Error, Reply::Confirm], 3, MessageState::Delivered),
    (&[Reply::Panic, Reply::Unknown, Reply::Cancel], 3, MessageState::Cancelled),
    (&[Reply::Unknown], ASKED, MessageState::Parked),
];

fn handled_cases() -> Vec<HandledCase> {
    let known = |end, becomes| HandledCase { end, replies: &[], asked: 0, becomes };
    let mut cases = vec![
        known(End::Ok, MessageState::Delivered),
        known(End::Withheld, MessageState::Cancelled),
        known(End::Err, MessageState::Cancelled),
    ];
    for end in [End::LateErr, End::Panic, End::Dropped] {
        cases.extend(ANSWERS.map(|(replies, asked, becomes)| HandledCase { end, replies, asked, becomes }));
    }
    cases
}

/// Calls of every case, mixed, each with the id of its order.
fn calls<Case: Copy>(cases: &[Case]) -> Vec<(u64, Case)> {
    (0..).zip(cases.iter().copied().cycle().take(cases.len() * EACH)).collect()
}

/// The ids of the calls for which this holds.
fn ids<Case>(calls: &[(u64, Case)], holds: impl Fn(&Case) -> bool) -> Vec<u64> {
    calls.iter().filter(|(_, case)| holds(case)).map(|(id, _)| *id).collect()
}

/// Runs a call to its end, a panic included, or drops it as soon as `stop` says so; and checks what its caller got.
async fn ends(end: End, call: impl Future<Output = Result<(), ShopError>>, stop: impl AsyncFn() -> bool) {
    let ended = tokio::select! {
        ended = AssertUnwindSafe(call).catch_unwind() => ended.ok(),
        () = wait_until("the call to get far enough to be dropped", stop) => None,
    };
    match end {
        End::Ok | End::Withheld => ended.expect("ended").expect("ok"),
        End::Err | End::LateErr => assert!(matches!(ended, Some(Err(ShopError::Declined)))),
        End::Panic | End::LatePanic | End::Dropped => assert!(ended.is_none()),
    }
}

async fn pay(world: &World, messenger: &Messenger, id: u64, end: End) {
    let reached = AtomicBool::new(false);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, id).await?;
        match end {
            End::Err => return Err(ShopError::Declined),
            End::Panic => panic!("in the body of {id}"),
            End::Dropped => {
                // The transaction stays open no longer than it takes to drop the call.
                reached.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            End::Withheld => withhold()?,
            End::Ok | End::LateErr | End::LatePanic => {}
        }
        tx.commit().await?;
        match end {
            End::LateErr => Err(ShopError::Declined),
            End::LatePanic => panic!("after the commit of {id}"),
            _ => Ok(()),
        }
    };
    let call = messenger.scope(async { fenced(&order(id), body).await });
    ends(end, call, async || reached.load(Ordering::SeqCst)).await;
}

async fn fenced_calls(world: &World, messenger: &Messenger) {
    let calls = calls(&FENCED);
    join_all(calls.iter().map(|(id, case)| pay(world, messenger, *id, case.end))).await;
    world.settled(messenger).await;
    let delivered = ids(&calls, |case| case.delivered);
    assert_eq!(world.listener.orders(), delivered);
    assert_eq!(world.all_effects().await, i64::try_from(delivered.len()).expect("small"));
    assert_eq!(world.orders().await, ids(&calls, |case| case.committed));
    let stats = messenger.stats().await.expect("counts");
    assert_eq!(stats.delivered, delivered.len() as u64);
    assert_eq!(stats.cancelled, (calls.len() - delivered.len()) as u64);
    assert_eq!((stats.parked, stats.dead), (0, 0));
}

#[tokio::test]
async fn fenced_calls_send_what_was_committed() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    fenced_calls(&world, &messenger).await;
}

#[tokio::test]
async fn fenced_calls_with_the_store_in_the_business_database_send_what_was_committed() {
    let world = World::new().await;
    let messenger = World::start(world.builder_on("shop").consumer(world.consumer())).await;
    fenced_calls(&world, &messenger).await;
}

async fn ship(messenger: &Messenger, id: u64, end: End) {
    let reached = AtomicBool::new(false);
    let body = async {
        tokio::task::yield_now().await;
        match end {
            End::Ok => Ok(()),
            End::Withheld => Ok(withhold()?),
            End::Err | End::LateErr => Err(ShopError::Declined),
            End::Panic | End::LatePanic => panic!("in the body of {id}"),
            End::Dropped => {
                reached.store(true, Ordering::SeqCst);
                std::future::pending().await
            }
        }
    };
    let order = order(id);
    let call = messenger.scope(async {
        match end {
            End::LateErr => handled_asking(&order, body).await,
            _ => handled(&order, body).await,
        }
    });
    ends(end, call, async || reached.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn handled_calls_send_what_their_end_or_their_handler_says() {
    let world = World::new().await;
    let settings = fast().check_back_attempts(u32::try_from(ASKED).expect("small"));
    let messenger = world.messenger_with(settings).await;
    let calls = calls(&handled_cases());
    for (id, case) in calls.iter().filter(|(_, case)| !case.replies.is_empty()) {
        world.oracle.say(*id, case.replies.iter().copied());
    }
    join_all(calls.iter().map(|(id, case)| ship(&messenger, *id, case.end))).await;
    world.settled(&messenger).await;

    let becomes = |state| ids(&calls, |case| case.becomes == state);
    assert_eq!(world.listener.orders(), becomes(MessageState::Delivered));
    let stats = messenger.stats().await.expect("counts");
    let counts = [MessageState::Delivered, MessageState::Cancelled, MessageState::Parked, MessageState::Dead]
        .map(|state| becomes(state).len() as u64);
    assert_eq!([stats.delivered, stats.cancelled, stats.parked, stats.dead], counts);
    for (id, case) in &calls {
        assert_eq!(world.oracle.asked(*id).len(), case.asked, "questions about {id}, {case:?}");
    }
    for parked in messenger.admin().list(MessageState::Parked, None, 1000).await.expect("lists") {
        let reason = parked.reason.expect("a reason");
        assert!(reason.contains(&format!("asked {ASKED} times")), "{reason}");
    }
}

#[tokio::test]
async fn a_call_that_leaves_before_its_half_is_stored_sends_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in 0..50 {
        let order = order(id);
        // One poll starts the half's insert; then the caller is gone.
        let call = messenger.scope(async { handled(&order, async { Ok(()) }).await });
        assert!(call.now_or_never().is_none(), "the half can't be stored in one poll");
    }
    // The last one is ordered behind them in the store.
    messenger.scope(async { handled(&order(99), async { Ok(()) }).await }).await.expect("handled");
    world.count(&messenger, MessageState::Delivered, 1).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [99]);
    assert!(world.oracle.questions().is_empty(), "a body that never ran needs no question");
    assert!(messenger.shutdown(Duration::from_secs(30)).await, "no call is left that could be waited for");
}

#[tokio::test]
async fn in_a_live_process_nothing_waits_for_a_lease() {
    let world = World::new().await;
    // What is left lying until its lease lapses is not seen again in this test.
    let settings = fast()
        .lease(Duration::from_hours(1))
        .relay_queue(1)
        .relay_window(1)
        .poll_interval(Duration::from_millis(1));
    let messenger = world.messenger_with(settings).await;
    let call = async |id: u64| match id % 3 {
        // More than the relay's queue takes.
        0 => world.handle(&messenger, id).await.expect("ok"),
        // Asked about by the checker.
        1 => {
            world.oracle.say(id, [Reply::Unknown, Reply::Confirm]);
            world.vanish(&messenger, id).await;
        }
        _ => world.commit_and_decline(&messenger, id).await,
    };
    join_all((0..300).map(call)).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_an_answer_confirms_is_delivered_without_another_look_at_the_table() {
    let world = World::new().await;
    let settings = fast().poll_interval(Duration::from_hours(1));
    let messenger = world.messenger_with(settings).await;
    world.commit_and_decline(&messenger, 1).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_call_inside_a_call_has_an_id_and_an_end_of_its_own() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let (inner, last) = (order(2), order(3));
    let body = async {
        let own = call_id();
        let of_inner = handled(&inner, async { Ok(call_id()) }).await?;
        handled::<()>(&last, async { Err(ShopError::Declined) }).await.expect_err("declined");
        assert_eq!(call_id(), own, "the outer call is the current one again");
        Ok((own, of_inner))
    };
    let order = order(1);
    let (outer, inner) = messenger.scope(async { handled(&order, body).await }).await.expect("ok");
    assert_ne!(outer, inner);
    world.settled(&messenger).await;
    let heard = |id| world.listener.heard_of(id).remove(0).id.as_uuid();
    assert_eq!((heard(1), heard(2)), (outer.as_uuid(), inner.as_uuid()));
    assert_eq!(world.listener.orders(), [1, 2]);
}
