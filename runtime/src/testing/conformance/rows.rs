//! Rows for the suite, in every state.

use std::time::Duration;

use uuid::Uuid;

use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, CallId, Half, Message, MessageId};
use crate::store::{Hold, Store, Transition};

pub(super) const LEASE: Duration = Duration::from_hours(1);
pub(super) const LAPSED: Duration = Duration::ZERO;

/// The service of most messages.
pub(super) const OURS: &str = "ours";

pub(super) fn hold(lease: Duration) -> Hold {
    Hold { token: Uuid::new_v4(), lease }
}

pub(super) fn handler(name: &str) -> AnsweredBy {
    AnsweredBy::Handler { service: OURS.into(), name: name.into() }
}

pub(super) fn half(answered_by: &str) -> Half {
    let id = MessageId::new();
    Half {
        id,
        call_id: CallId::of(id),
        service: OURS.into(),
        package: None,
        function: "conformance".into(),
        answered_by: handler(answered_by),
        check_after: Duration::from_secs(10),
        expires: None,
        message: Message::bytes("exchange", "routing.key", "text/plain", "body"),
    }
}

pub(super) async fn stored(store: &dyn Store, half: &Half, hold: Hold) -> MessageId {
    store.insert_halves(&[half], hold).await.expect("stored");
    half.id
}

pub(super) async fn state(store: &dyn Store, id: MessageId) -> MessageState {
    store.find(id).await.expect("found").expect("there").state
}

pub(super) async fn apply(store: &dyn Store, event: Event, transition: Transition) -> Applied {
    store.transition(event, &[transition], None).await.expect("applied")[0]
}

/// Takes a fresh message to `target` by legal moves.
pub(super) async fn message_in(store: &dyn Store, target: MessageState, hold: Hold) -> MessageId {
    let id = stored(store, &half(&Uuid::new_v4().to_string()), hold).await;
    let path: &[Event] = match target {
        MessageState::Half => &[],
        MessageState::Confirmed => &[Event::BodyConfirms],
        MessageState::Cancelled => &[Event::CancelFinal],
        MessageState::Delivered => &[Event::BodyConfirms, Event::Acknowledged],
        MessageState::Parked => &[Event::Park],
        MessageState::Dead => &[Event::BodyConfirms, Event::GiveUp],
        MessageState::Expired => &[Event::BodyConfirms, Event::Expire],
    };
    for event in path {
        assert_eq!(apply(store, *event, Transition::of(id)).await, Applied::Moved);
    }
    id
}

pub(super) async fn wait_a_moment() {
    // Pacing: the store's times are in milliseconds, and what follows must have a later one.
    tokio::time::sleep(Duration::from_millis(2)).await;
}
