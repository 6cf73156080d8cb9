//! However a body ends: the right messages arrive, each once, and nothing is left over.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use it::{Reply, ShopError, fast, fenced, handled, handled_asking, order, wait_until};
use transactional_message::{MessageState, Messenger, begin, call_id, withhold};

use crate::World;

/// Calls of each kind at once.
const EACH: u64 = 15;

/// Runs a call to its end, a panic included, or drops it as soon as `stop` says so.
async fn until<T>(call: impl Future<Output = T>, stop: impl AsyncFn() -> bool) -> Option<T> {
    tokio::select! {
        ended = AssertUnwindSafe(call).catch_unwind() => ended.ok(),
        () = wait_until("the call to get far enough to be dropped", stop) => None,
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Err,
    Panic,
    Dropped,
    Withheld,
    /// Fenced: the work is done, and then something goes wrong. Handled: an error that is asked about.
    ErrAfterAll,
    PanicAfterAll,
}

const ENDS: [End; 7] =
    [End::Ok, End::Err, End::Panic, End::Dropped, End::Withheld, End::ErrAfterAll, End::PanicAfterAll];

impl End {
    fn of(id: u64) -> Self {
        ENDS[usize::try_from(id / EACH).expect("small") % ENDS.len()]
    }
}

fn ids() -> impl Iterator<Item = u64> {
    0..EACH * ENDS.len() as u64
}

fn ids_that(delivered: impl Fn(End) -> bool) -> Vec<u64> {
    ids().filter(|id| delivered(End::of(*id))).collect()
}

async fn pay(world: &World, messenger: &Messenger, id: u64) {
    let end = End::of(id);
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
            End::Ok | End::ErrAfterAll | End::PanicAfterAll => {}
        }
        tx.commit().await?;
        match end {
            End::ErrAfterAll => Err(ShopError::Declined),
            End::PanicAfterAll => panic!("after the commit of {id}"),
            _ => Ok(()),
        }
    };
    let call = messenger.scope(async { fenced(&order(id), body).await });
    let ended = until(call, async || reached.load(Ordering::SeqCst)).await;
    match end {
        End::Ok | End::Withheld => ended.expect("ended").expect("ok"),
        End::Err | End::ErrAfterAll => assert!(matches!(ended, Some(Err(ShopError::Declined)))),
        End::Panic | End::PanicAfterAll | End::Dropped => assert!(ended.is_none()),
    }
}

async fn fenced_calls(world: &World, messenger: &Messenger) {
    join_all(ids().map(|id| pay(world, messenger, id))).await;
    world.settled(messenger).await;
    let delivered = ids_that(|end| matches!(end, End::Ok | End::ErrAfterAll | End::PanicAfterAll));
    assert_eq!(world.listener.orders(), delivered);
    assert_eq!(world.all_effects().await, i64::try_from(delivered.len()).expect("small"));
    let there =
        ids_that(|end| matches!(end, End::Ok | End::ErrAfterAll | End::PanicAfterAll | End::Withheld));
    assert_eq!(world.orders().await, there);
    let stats = messenger.stats().await.expect("counts");
    assert_eq!(stats.delivered, delivered.len() as u64);
    assert_eq!(stats.cancelled, ids().count() as u64 - stats.delivered);
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

#[tokio::test]
async fn handled_calls_send_what_their_end_or_their_handler_says() {
    let world = World::new().await;
    let settings = fast().check_back_attempts(4);
    let messenger = world.messenger_with(settings).await;
    // What a vanished body's handler says, by turns.
    let answers = [
        vec![Reply::Confirm],
        vec![Reply::Cancel],
        vec![Reply::Unknown, Reply::Error, Reply::Confirm],
        vec![Reply::Panic, Reply::Unknown, Reply::Cancel],
        vec![Reply::Unknown],
    ];
    let vanishes = |end| matches!(end, End::Panic | End::Dropped | End::PanicAfterAll);
    for id in ids() {
        if vanishes(End::of(id)) || End::of(id) == End::ErrAfterAll {
            world.oracle.say(id, answers[usize::try_from(id).expect("small") % answers.len()].clone());
        }
    }
    let ship = async |id: u64| {
        let end = End::of(id);
        let reached = AtomicBool::new(false);
        let body = async {
            tokio::task::yield_now().await;
            match end {
                End::Ok => Ok(()),
                End::Err | End::ErrAfterAll => Err(ShopError::Declined),
                End::Panic | End::PanicAfterAll => panic!("in the body of {id}"),
                End::Withheld => Ok(withhold()?),
                End::Dropped => {
                    reached.store(true, Ordering::SeqCst);
                    std::future::pending().await
                }
            }
        };
        let order = order(id);
        let call = messenger.scope(async {
            if end == End::ErrAfterAll {
                handled_asking(&order, body).await
            } else {
                handled(&order, body).await
            }
        });
        let ended = until(call, async || reached.load(Ordering::SeqCst)).await;
        match end {
            End::Ok | End::Withheld => ended.expect("ended").expect("ok"),
            End::Err | End::ErrAfterAll => assert!(matches!(ended, Some(Err(ShopError::Declined)))),
            End::Panic | End::PanicAfterAll | End::Dropped => assert!(ended.is_none()),
        }
    };
    join_all(ids().map(ship)).await;
    world.settled(&messenger).await;

    let answered = |id: u64, turns: &[u64]| {
        (vanishes(End::of(id)) || End::of(id) == End::ErrAfterAll)
            && turns.contains(&(id % answers.len() as u64))
    };
    let delivered: Vec<_> = ids().filter(|id| End::of(*id) == End::Ok || answered(*id, &[0, 2])).collect();
    assert_eq!(world.listener.orders(), delivered);
    let parked = ids().filter(|id| answered(*id, &[4])).count() as u64;
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.parked, stats.delivered, stats.dead), (parked, delivered.len() as u64, 0));
    assert_eq!(stats.cancelled, ids().count() as u64 - stats.delivered - stats.parked);
    for id in ids() {
        let asked = world.oracle.asked(id).len();
        let turn = usize::try_from(id).expect("small") % answers.len();
        let expected = if answered(id, &[0, 1, 2, 3, 4]) { [1, 1, 3, 3, 4][turn] } else { 0 };
        assert_eq!(asked, expected, "questions about {id}, {:?}", End::of(id));
    }
    for parked in messenger.admin().list(MessageState::Parked, None, 1000).await.expect("lists") {
        let reason = parked.reason.expect("a reason");
        assert!(reason.contains("asked 4 times"), "{reason}");
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
