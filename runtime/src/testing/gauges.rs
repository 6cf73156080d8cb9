//! What every store must say of what waits in it.

use std::time::Duration;

use uuid::Uuid;

use crate::message::schedule::{NotBefore, Schedule};
use crate::message::state::Event;
use crate::message::{AnsweredBy, CallId, Half, Message, MessageId};
use crate::store::{Gauges, Hold, Store, Transition};

const LEASE: Duration = Duration::from_hours(1);

fn half(delay: Option<Duration>) -> Half {
    let id = MessageId::new();
    let mut message = Message::bytes("exchange", "routing.key", "text/plain", "body");
    message.schedule = Schedule { not_before: delay.map(NotBefore::After), expires_in: None };
    Half {
        id,
        call_id: CallId::of(id),
        service: "ours".into(),
        package: None,
        function: "conformance".into(),
        answered_by: AnsweredBy::Handler { service: "ours".into(), name: "gauged".into() },
        check_after: Duration::from_secs(10),
        expires: None,
        message,
    }
}

/// In a store that is empty, which it is again afterwards, but for finished rows.
pub(super) async fn say_what_waits(store: &dyn Store) {
    let look = async || store.gauges(Duration::ZERO).await.expect("looks");
    let insert = async |lease, delay| {
        let half = half(delay);
        let hold = Hold { token: Uuid::new_v4(), lease };
        store.insert_halves(&[&half], hold).await.expect("stored");
        half.id
    };
    let apply = async |event, id| {
        store.transition(event, &[Transition::of(id)], None).await.expect("applied");
    };
    assert_eq!(look().await, Gauges::default(), "an empty store");

    let held = insert(LEASE, None).await;
    let gauges = look().await;
    assert_eq!((gauges.half.count, gauges.half.due_for), (1, None), "a half that is held is not due");
    assert!(gauges.half.oldest.is_some() && gauges.unanswered.is_empty(), "{gauges:?}");
    let lapsed = insert(Duration::ZERO, None).await;
    let overdue = async {
        loop {
            let gauges = look().await;
            if gauges.half.due_for >= Some(Duration::from_millis(20)) {
                return gauges;
            }
            tokio::task::yield_now().await;
        }
    };
    let gauges =
        tokio::time::timeout(Duration::from_mins(1), overdue).await.expect("time passes, and the lag grows");
    assert_eq!(gauges.half.count, 2);
    assert!(gauges.half.due_for < Some(LEASE));
    assert_eq!(gauges.unanswered, [("handler:@ours:gauged".to_owned(), 1)]);
    let later = store.gauges(LEASE).await.expect("looks");
    assert!(later.unanswered.is_empty(), "not due for so long: {later:?}");

    for id in [held, lapsed] {
        apply(Event::BodyConfirms, id).await;
    }
    let delayed = insert(LEASE, Some(LEASE)).await;
    apply(Event::BodyConfirms, delayed).await;
    let gauges = look().await;
    assert_eq!((gauges.half.count, gauges.confirmed.count), (0, 3));
    assert!(gauges.confirmed.oldest >= Some(Duration::from_millis(20)), "{gauges:?}");
    assert!(gauges.confirmed.due_for.is_some() && gauges.unanswered.is_empty(), "{gauges:?}");
    apply(Event::GiveUp, held).await;
    apply(Event::Acknowledged, lapsed).await;
    let gauges = look().await;
    assert_eq!((gauges.confirmed.count, gauges.dead.count), (1, 1), "a delivered one is not counted");
    assert_eq!((gauges.confirmed.oldest, gauges.confirmed.due_for), (None, None), "its delay is not over");
    assert!(gauges.dead.oldest.is_some());
    let parked = insert(LEASE, None).await;
    apply(Event::Park, parked).await;
    assert_eq!(look().await.parked.count, 1);

    for id in [delayed, held] {
        apply(Event::Acknowledged, id).await;
    }
    apply(Event::OperatorCancels, parked).await;
    assert_eq!(look().await, Gauges::default());
}
