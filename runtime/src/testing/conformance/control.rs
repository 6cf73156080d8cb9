//! What every store must do with what persons order.

use std::time::Duration;

use super::operate::decision_of;
use super::rows::{LEASE, apply, half, hold, message_in, stored, wait_a_moment};
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{Half, MessageId, Pausable};
use crate::store::{
    Action, Attempts, AuditFilter, ClaimLimits, Decision, ItemOutcome, NewOperation, Pause, Progress, Reason,
    Release, Store, Transition,
};

const MINUTE: Duration = Duration::from_mins(1);

fn ordered(action: Action, what: &Pausable) -> Decision {
    let mut decision = decision_of(MessageId::from_uuid(uuid::Uuid::nil()), action);
    decision.entry = decision.entry.about(what);
    decision
}

async fn paused(store: &dyn Store, what: &Pausable) -> Option<Pause> {
    store.pauses().await.expect("reads").into_iter().find(|pause| pause.what == *what)
}

pub(super) async fn pauses_come_and_go(store: &dyn Store) {
    let what = Pausable::Exchange("conformance:pauses".into());
    let pause = ordered(Action::Pause, &what);
    store.pause(&what, MINUTE, &pause).await.expect("pauses");
    let first = paused(store, &what).await.expect("is paused");
    assert!(
        first.ends_at == first.began_at + MINUTE && first.remaining <= MINUTE && !first.remaining.is_zero()
    );
    assert_eq!(
        (first.reason.as_str(), first.user.as_str(), first.via.as_str()),
        ("looked → it up", "ana@desk", "test")
    );
    let record = store.audit(&AuditFilter::default(), 1).await.expect("reads").remove(0);
    assert_eq!((record.id, record.message_id, record.action.as_str()), (pause.entry.id, None, "pause"));
    assert_eq!(record.subject, Some(what.to_string()));

    // Once more, it has another end; and one that is over is none.
    store.pause(&what, MINUTE * 2, &ordered(Action::Pause, &what)).await.expect("pauses");
    assert!(paused(store, &what).await.is_some_and(|pause| pause.ends_at > first.ends_at));
    assert!(store.resume(&what, &ordered(Action::Resume, &what)).await.expect("resumes"));
    assert!(paused(store, &what).await.is_none());
    assert!(!store.resume(&what, &ordered(Action::Resume, &what)).await.expect("resumes"));
    store.pause(&what, Duration::from_millis(1), &ordered(Action::Pause, &what)).await.expect("pauses");
    wait_a_moment().await;
    assert!(paused(store, &what).await.is_none());
    assert!(!store.resume(&what, &ordered(Action::Resume, &what)).await.expect("resumes"), "it was over");
}

async fn put_off(store: &dyn Store, id: MessageId, token: uuid::Uuid, attempts: Attempts, reason: &str) {
    let reason = Some(Reason::from(reason));
    let release = Release { id, held_by: token, after: LEASE, attempts, reason };
    store.release(&[release]).await.expect("released");
}

pub(super) async fn what_was_put_off_is_made_due(store: &dyn Store) {
    let hold = hold(LEASE);
    let [mark, other] = ["paused: 100%_; ", "paused: 100; "];
    let mut ids = Vec::new();
    for reason in [format!("{mark}why"), format!("{mark}why"), format!("{other}why")] {
        let id = stored(store, &half("put off"), hold).await;
        store.transition(Event::BodyConfirms, &[Transition::of(id)], Some(hold)).await.expect("applied");
        put_off(store, id, hold.token, Attempts::Keep, &reason).await;
        ids.push(id);
    }
    assert_eq!(store.wake(mark, 1).await.expect("wakes"), 1);
    assert_eq!(store.wake(mark, 9).await.expect("wakes"), 1);
    assert_eq!(store.wake(mark, 9).await.expect("wakes"), 0);
    for (place, id) in ids.into_iter().enumerate() {
        let info = store.find(id).await.expect("found").expect("there");
        assert_eq!(info.due_at <= Some(info.read_at), place < 2, "{info:?}");
        assert_eq!(apply(store, Event::Acknowledged, Transition::of(id)).await, Applied::Moved);
    }
}

/// What went wrong is kept with the message, as far as there is room; nothing where nothing did.
pub(super) async fn what_goes_wrong_is_kept(store: &dyn Store) {
    let delivered = message_in(store, MessageState::Delivered, hold(LEASE)).await;
    assert!(store.history(delivered).await.expect("reads").is_empty());
    assert!(store.history(MessageId::new()).await.expect("reads").is_empty());

    let hold = hold(LEASE);
    let of_its_own = Half { service: "history".into(), ..half("history") };
    let id = stored(store, &of_its_own, hold).await;
    let confirmed = Transition::of(id).because("of no interest");
    store.transition(Event::BodyConfirms, &[confirmed], Some(hold)).await.expect("applied");
    let limits = ClaimLimits { rows: 9, bytes: 9, lapsed_before: None };
    let spent = "a \"quoted\" \\ → reason\nof two lines";
    for (attempts, reason) in [
        (Attempts::Spend, spent),
        (Attempts::Spend, spent),
        (Attempts::Keep, "the broker is away"),
        // It has not changed, and counts nothing.
        (Attempts::Keep, "the broker is away"),
    ] {
        put_off(store, id, hold.token, attempts, reason).await;
        store.decide(&decision_of(id, Action::Retry)).await.expect("makes it due");
        let claim = store.claim_confirmed(&["history".into()], limits, hold).await.expect("claims");
        assert_eq!(claim.rows.len(), 1);
    }
    assert_eq!(apply(store, Event::GiveUp, Transition::of(id).because("used up")).await, Applied::Moved);
    store.decide(&decision_of(id, Action::Retry)).await.expect("decides");
    let history = store.history(id).await.expect("reads");
    let entries: Vec<_> = history.iter().map(|entry| (entry.state, entry.reason.as_str())).collect();
    let (confirmed, dead) = (MessageState::Confirmed, MessageState::Dead);
    assert_eq!(
        entries,
        [
            (confirmed, spent),
            (confirmed, spent),
            (confirmed, "the broker is away"),
            (dead, "used up"),
            (confirmed, "retried by hand: looked → it up"),
        ]
    );
    assert!(history.is_sorted_by_key(|entry| entry.at));

    // The newest are kept, each as far as it is of use.
    for number in 0..20 {
        let why = format!("{number} {}", "x".repeat(1000));
        assert_eq!(apply(store, Event::GiveUp, Transition::of(id).because(why)).await, Applied::Moved);
        store.decide(&decision_of(id, Action::Retry)).await.expect("decides");
    }
    let history = store.history(id).await.expect("reads");
    assert!((8..=20).contains(&history.len()), "{history:?}");
    assert!(history.iter().any(|entry| entry.reason.starts_with("19 x") && entry.reason.len() == 400));
    assert_eq!(apply(store, Event::Acknowledged, Transition::of(id)).await, Applied::Moved);
}

pub(super) async fn operations_are_one_process_at_a_time(store: &dyn Store) {
    let item = || (MessageId::new(), uuid::Uuid::now_v7());
    let about = r#"{"action":"retry","reason":"→","conditions":"","user":"ana","via":"test","per_second":1,"look_for_millis":0,"stop_after_failures":0}"#;
    let operation = |begins_in| NewOperation {
        id: uuid::Uuid::now_v7(),
        about: about.into(),
        begins_in,
        items: vec![item(), item(), item()],
    };
    let (first, later) = (operation(Duration::ZERO), operation(MINUTE));
    for operation in [&first, &later] {
        store.order(operation).await.expect("ordered");
    }
    let (id, ours, theirs) = (first.id, hold(LEASE), hold(LEASE));
    assert!(store.due_operations().await.expect("reads").contains(&id));
    assert!(!store.due_operations().await.expect("reads").contains(&later.id));
    assert!(!store.take_operation(later.id, ours).await.expect("answers"), "it has not begun");
    assert!(store.take_operation(id, ours).await.expect("answers"));
    assert!(store.take_operation(id, ours).await.expect("answers"), "once more");
    assert!(!store.take_operation(id, theirs).await.expect("answers"), "it is ours");
    assert!(!store.due_operations().await.expect("reads").contains(&id));
    store.leave_operation(id, theirs).await.expect("answers");
    let progress = async |id| store.operation(id).await.expect("reads").map(|operation| operation.progress);
    assert_eq!(progress(id).await, Some(Progress::Running), "only its holder leaves it");
    store.leave_operation(id, ours).await.expect("answers");
    assert_eq!(progress(id).await, Some(Progress::Interrupted));
    assert!(store.take_operation(id, theirs).await.expect("answers"));

    let items = store.items(id, 0, true, 2).await.expect("reads");
    let places: Vec<_> = items.iter().map(|item| (item.position, item.message_id, item.record_id)).collect();
    let expected: Vec<_> =
        (1..).zip(&first.items).map(|(place, (message, record))| (place, *message, *record)).collect();
    assert_eq!(places, expected[..2]);
    store.settle_item(id, 1, ItemOutcome::Refused, Some("it is gone →")).await.expect("noted");
    store.settle_item(id, 1, ItemOutcome::Done, None).await.expect("left as it is");
    store.settle_item(id, 2, ItemOutcome::Done, None).await.expect("noted");
    assert_eq!(store.items(id, 0, true, 9).await.expect("reads").len(), 1);
    let all = store.items(id, 0, false, 9).await.expect("reads");
    assert_eq!(
        (all.len(), all[0].outcome, all[0].why.as_deref()),
        (3, Some(ItemOutcome::Refused), Some("it is gone →"))
    );
    assert_eq!(store.items(id, 2, false, 9).await.expect("reads").len(), 1);

    assert!(store.end_operation(id, Some("by ana: →")).await.expect("ends"));
    assert!(!store.end_operation(id, None).await.expect("answers"), "it was over");
    assert!(!store.take_operation(id, theirs).await.expect("answers"));
    let ended = store.operation(id).await.expect("reads").expect("there");
    assert_eq!((ended.progress, ended.stopped.as_deref()), (Progress::Stopped, Some("by ana: →")));
    assert_eq!(
        (ended.messages, ended.done, ended.refused, ended.failed, ended.failed_again),
        (3, 1, 1, 0, 0)
    );
    assert_eq!((ended.user.as_str(), ended.reason.as_str()), ("ana", "→"));
    assert_eq!(progress(later.id).await, Some(Progress::Waiting));
    assert!(store.end_operation(later.id, None).await.expect("ends"));
    assert_eq!(progress(later.id).await, Some(Progress::Done));
    let listed = async |before| {
        let listed = store.operations(before, 2).await.expect("reads");
        listed.into_iter().map(|operation| operation.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None).await, [later.id, id]);
    assert_eq!(listed(Some(later.id)).await, [id]);
    assert!(store.operation(uuid::Uuid::now_v7()).await.expect("reads").is_none());
    let decision = decision_of(MessageId::new(), Action::View);
    assert!(!store.is_recorded(decision.entry.id).await.expect("answers"));
    store.record(&decision).await.expect("is kept");
    assert!(store.is_recorded(decision.entry.id).await.expect("answers"));
}
