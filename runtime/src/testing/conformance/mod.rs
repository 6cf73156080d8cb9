//! What every store must do, checked the same way on each of them.

mod control;
mod operate;
mod rows;

use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::database::DatabaseSource;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, CallId, Half, Message, MessageId};
use crate::store::{
    Attempts, Claim, ClaimLimits, ClaimedRow, Hold, Holder, Release, Store, StoreError, Transition,
};
use rows::{LAPSED, LEASE, OURS, apply, half, handler, hold, message_in, state, stored, wait_a_moment};

/// Everything, also what has lapsed.
fn all() -> ClaimLimits {
    ClaimLimits { rows: 1000, bytes: usize::MAX, lapsed_before: Some(Duration::from_hours(24 * 365 * 1000)) }
}

/// Runs the whole suite on `database`, which must be empty.
///
/// # Panics
/// When the store does not do what it must.
pub async fn exercise(database: DatabaseSource) {
    let open = async || database.open_store().await.expect("opens");
    let store = &*open().await;
    migrations(store).await;
    super::gauges::say_what_waits(store).await;
    halves_are_stored_all_or_none_and_once(store).await;
    large_halves_are_stored_together(store).await;
    every_event_in_every_state(store).await;
    rows_of_a_batch_move_each_by_its_own_state(store).await;
    held_rows_are_nobody_elses(store).await;
    lapsed_rows_are_taken_once(store, open().await.as_ref()).await;
    only_a_checker_counts_what_it_enters(store).await;
    claims_are_bounded(store).await;
    postponing_gives_back(store).await;
    renewal_takes_back_a_half_and_not_a_confirmed(store).await;
    finished_rows_are_deleted_and_no_others(store).await;
    a_calls_messages_are_pruned_together(store).await;
    what_was_stored_comes_back(store).await;
    an_amended_payload_replaces_the_first(store).await;
    what_has_a_delay_is_due_after_it(store).await;
    what_counts_on_an_undisturbed_store_is_not_done_on_another(store).await;
    operate::paging(store).await;
    operate::searching(store).await;
    operate::a_search_is_bounded(store).await;
    operate::decisions_are_kept(store).await;
    operate::what_is_refused_is_not_kept(store).await;
    operate::processes_come_and_go(store).await;
    control::pauses_come_and_go(store).await;
    control::what_was_put_off_is_made_due(store).await;
    control::what_goes_wrong_is_kept(store).await;
    control::operations_are_one_process_at_a_time(store).await;
    each_service_takes_its_own(store).await;
    only_others_services_are_reported(store).await;
}

/// Claims what is confirmed.
async fn claim(store: &dyn Store, limits: ClaimLimits, hold: Hold) -> Result<Claim, StoreError> {
    store.claim_confirmed(&[OURS.into()], limits, hold).await
}

async fn migrations(store: &dyn Store) {
    let error = store.check_schema().await.expect_err("an empty database has no tables").to_string();
    assert!(error.contains("migrate"), "{error}");
    store.migrate().await.expect("migrates");
    store.migrate().await.expect("migrating again changes nothing");
    store.check_schema().await.expect("is up to date");
}

async fn halves_are_stored_all_or_none_and_once(store: &dyn Store) {
    let (first, second) = (half("twice"), half("twice"));
    let both = [&first, &second];
    store.insert_halves(&both, hold(LEASE)).await.expect("stored");
    store.insert_halves(&both, hold(LEASE)).await.expect("a retry finds its own rows");
    assert_eq!(store.list(MessageState::Half, None, 10).await.expect("listed").len(), 2);
    let transitions = [Transition::of(first.id), Transition::of(second.id), Transition::of(MessageId::new())];
    let applied = store.transition(Event::CancelFinal, &transitions, None).await.expect("applied");
    assert_eq!(applied, [Applied::Moved, Applied::Moved, Applied::Missing]);
}

/// More than a server takes in one packet.
async fn large_halves_are_stored_together(store: &dyn Store) {
    let payload = vec![b'x'; 1024 * 1024];
    let large = || Half { message: Message::bytes("e", "r", "text/plain", payload.clone()), ..half("large") };
    let halves: Vec<_> = (0..20).map(|_| large()).collect();
    store.insert_halves(&halves.iter().collect::<Vec<_>>(), hold(LEASE)).await.expect("stored");
    let transitions: Vec<_> = halves.iter().map(|half| Transition::of(half.id)).collect();
    let applied = store.transition(Event::CancelFinal, &transitions, None).await.expect("applied");
    assert_eq!(applied, [Applied::Moved; 20]);
}

/// The database enforces exactly what the state machine says.
async fn every_event_in_every_state(store: &dyn Store) {
    let events = [
        Event::BodyConfirms,
        Event::CancelFinal,
        Event::CheckBackConfirms,
        Event::CancelIfHeld,
        Event::Park,
        Event::OperatorConfirms,
        Event::OperatorCancels,
        Event::Acknowledged,
        Event::GiveUp,
        Event::Expire,
        Event::Revive,
    ];
    for before in MessageState::ALL {
        for event in events {
            let id = message_in(store, before, hold(LEASE)).await;
            let (expected, after) = if event.sources().contains(&before) {
                (Applied::Moved, event.target())
            } else {
                (event.verdict(before), before)
            };
            assert_eq!(apply(store, event, Transition::of(id)).await, expected, "{event:?} in {before}");
            assert_eq!(state(store, id).await, after, "{event:?} in {before}");
            if expected == Applied::Moved {
                assert_eq!(
                    apply(store, event, Transition::of(id)).await,
                    Applied::Already,
                    "{event:?} twice"
                );
            }
        }
    }
}

async fn rows_of_a_batch_move_each_by_its_own_state(store: &dyn Store) {
    let mut transitions = Vec::new();
    for state in MessageState::ALL {
        transitions.push(Transition::of(message_in(store, state, hold(LEASE)).await));
    }
    transitions.push(Transition::of(MessageId::new()));
    let applied =
        store.transition(Event::BodyConfirms, &transitions, Some(hold(LEASE))).await.expect("applied");
    let (moved, already) = (Applied::Moved, Applied::Already);
    // In the order of `MessageState::ALL`: half, confirmed, cancelled, delivered, parked, dead, expired.
    assert_eq!(applied, [moved, already, moved, already, moved, already, already, Applied::Missing]);
}

async fn held_rows_are_nobody_elses(store: &dyn Store) {
    let handler = [handler("held")];
    let owner = hold(LEASE);
    let id = stored(store, &half("held"), owner).await;
    assert!(store.claim_halves(&handler, all(), hold(LEASE)).await.expect("claims").rows.is_empty());
    assert_ne!(operate::retried(store, id).await, Applied::Moved, "a held row is not made due");
    let stranger = Transition::of(id).held_by(Uuid::new_v4());
    assert_eq!(apply(store, Event::CancelIfHeld, stranger).await, Applied::Conflict(MessageState::Half));
    let own = Transition::of(id).held_by(owner.token);
    assert_eq!(apply(store, Event::CancelIfHeld, own).await, Applied::Moved);
}

async fn lapsed_rows_are_taken_once(store: &dyn Store, other: &dyn Store) {
    let handler = [handler("lapsed")];
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(stored(store, &half("lapsed"), hold(LAPSED)).await);
    }
    let patient = ClaimLimits { lapsed_before: None, ..all() };
    assert!(store.claim_halves(&handler, patient, hold(LEASE)).await.expect("claims").rows.is_empty());
    let expired = ClaimLimits { lapsed_before: Some(Duration::from_secs(1)), ..all() };
    assert!(store.claim_halves(&handler, expired, hold(LEASE)).await.expect("claims").rows.is_empty());
    let limits = ClaimLimits { rows: 15, ..all() };
    let (one, two) = tokio::join!(
        store.claim_halves(&handler, limits, hold(LEASE)),
        other.claim_halves(&handler, limits, hold(LEASE))
    );
    let mut taken: Vec<_> = [one, two].into_iter().flat_map(|claim| claim.expect("claims").rows).collect();
    assert!(taken.iter().all(|row| row.taken_over == Some(Holder::Process) && row.attempts == 0));
    taken.sort_by_key(|row| row.half.id);
    assert_eq!(taken.iter().map(|row| row.half.id).collect::<Vec<_>>(), ids);
    assert!(store.claim_halves(&[], all(), hold(LEASE)).await.expect("claims").rows.is_empty());
}

async fn only_a_checker_counts_what_it_enters(store: &dyn Store) {
    let handler = [handler("entered")];
    let checker = |lease| Hold { token: Holder::checkers_token(), lease };
    let claim =
        async |hold| store.claim_halves(&handler, all(), hold).await.expect("claims").rows.into_iter().next();
    let long = Half { check_after: LEASE, ..half("entered") };
    stored(store, &long, hold(LAPSED)).await;
    assert_eq!(claim(checker(LAPSED)).await.map(|row| row.taken_over), Some(Some(Holder::Process)));
    assert!(claim(checker(LAPSED)).await.is_none(), "a claim lasts for its half's `check_after`, too");
    let transition = Transition::of(long.id);
    assert_eq!(apply(store, Event::CancelFinal, transition).await, Applied::Moved);

    let half = Half { check_after: Duration::ZERO, ..half("entered") };
    let id = stored(store, &half, hold(LAPSED)).await;
    let first = checker(LAPSED);
    claim(first).await.expect("one");
    let second = checker(LAPSED);
    let row = claim(second).await.expect("one");
    assert_eq!((row.taken_over, row.attempts), (Some(Holder::Checker), 0), "claims count nothing");
    assert!(!store.enter(id, first).await.expect("enters"), "not the holder");
    let attempts = async || store.find(id).await.expect("found").expect("there").attempts;
    assert_eq!(attempts().await, 0);
    let long = Hold { lease: LEASE, ..second };
    assert!(store.enter(id, long).await.expect("enters"));
    assert_eq!(attempts().await, 1);
    assert!(claim(checker(LAPSED)).await.is_none(), "its holder has entered, and holds it on");
    assert_eq!(apply(store, Event::CancelFinal, Transition::of(id)).await, Applied::Moved);
    assert!(!store.enter(id, long).await.expect("enters"), "decided");
}

async fn claims_are_bounded(store: &dyn Store) {
    for _ in 0..5 {
        message_in(store, MessageState::Confirmed, hold(LEASE)).await;
    }
    let small = ClaimLimits { rows: 2, ..all() };
    assert_eq!(claim(store, small, hold(LEASE)).await.expect("claims").rows.len(), 2);
    // One row always, however small the bound on bytes.
    let bytes = ClaimLimits { bytes: 1, ..all() };
    assert_eq!(claim(store, bytes, hold(LEASE)).await.expect("claims").rows.len(), 1);
    while !claim(store, all(), hold(LEASE)).await.expect("claims").rows.is_empty() {}
}

async fn postponing_gives_back(store: &dyn Store) {
    let id = message_in(store, MessageState::Confirmed, hold(LEASE)).await;
    let owner = hold(LEASE);
    let row = claim(store, all(), owner).await.expect("claims").rows.remove(0);
    assert_eq!((row.half.id, row.attempts, row.taken_over), (id, 0, None));
    let back =
        |held_by, after, attempts| Release { id, held_by, after, attempts, reason: Some("why".into()) };
    store.release(&[back(Uuid::new_v4(), LAPSED, Attempts::Spend)]).await.expect("postpones");
    assert!(claim(store, all(), hold(LEASE)).await.expect("claims").rows.is_empty(), "not the holder");
    store.release(&[back(owner.token, LEASE, Attempts::Spend)]).await.expect("postpones");
    assert!(claim(store, all(), hold(LEASE)).await.expect("claims").rows.is_empty(), "not due");
    assert_eq!(operate::retried(store, id).await, Applied::Moved);
    let row = claim(store, all(), hold(LEASE)).await.expect("claims").rows.remove(0);
    assert_eq!(row.attempts, 1);
    assert_eq!(store.find(id).await.expect("found").expect("there").reason.as_deref(), Some("why"));
}

async fn renewal_takes_back_a_half_and_not_a_confirmed(store: &dyn Store) {
    let (owner, thief) = (hold(LEASE), hold(LEASE));
    let half_id = stored(store, &half("renewed"), hold(LAPSED)).await;
    let confirmed = message_in(store, MessageState::Confirmed, owner).await;
    let handler = [handler("renewed")];
    assert_eq!(store.claim_halves(&handler, all(), thief).await.expect("claims").rows.len(), 1);
    assert!(!claim(store, all(), thief).await.expect("claims").rows.is_empty());
    let renewed = store.renew(&[half_id, confirmed], owner).await.expect("renews");
    assert_eq!(renewed.ids, [half_id]);
    let cancel = Transition::of(half_id).held_by(thief.token);
    assert_eq!(apply(store, Event::CancelIfHeld, cancel).await, Applied::Conflict(MessageState::Half));
    assert!(store.renew(&[], owner).await.expect("renews nothing").database_clock > Duration::ZERO);
}

async fn finished_rows_are_deleted_and_no_others(store: &dyn Store) {
    let mut ids = Vec::new();
    for state in MessageState::ALL {
        ids.push(message_in(store, state, hold(LEASE)).await);
    }
    wait_a_moment().await;
    let finished = store.finished(Duration::ZERO, 10_000, &[]).await.expect("finds");
    assert!(finished.iter().all(|one| CallId::of(one.id) == one.call_id));
    assert!(store.finished(LEASE, 10_000, &[]).await.expect("finds").is_empty(), "none is old enough");
    assert_eq!(store.delete_finished(&ids).await.expect("deletes"), 3);
    let calls: Vec<_> = ids.iter().map(|id| CallId::of(*id)).collect();
    let known = store.known_calls(&calls).await.expect("finds");
    assert_eq!(known.len(), 4);
}

/// A fence row answers for all messages of its call, so none may go before all can.
async fn a_calls_messages_are_pruned_together(store: &dyn Store) {
    let first = half("together");
    let second = Half { id: MessageId::new(), ..first.clone() };
    let (first_id, second_id) = (first.id, second.id);
    store.insert_halves(&[&first, &second], hold(LEASE)).await.expect("stored");
    let finished = async || {
        let finished = store.finished(Duration::ZERO, 10_000, &[]).await.expect("finds");
        finished.iter().filter(|one| one.call_id == CallId::of(first_id)).count()
    };
    assert_eq!(apply(store, Event::CancelFinal, Transition::of(first_id)).await, Applied::Moved);
    assert_eq!(apply(store, Event::Park, Transition::of(second_id)).await, Applied::Moved);
    wait_a_moment().await;
    assert_eq!(finished().await, 0, "the second waits for an operator");
    assert_eq!(apply(store, Event::OperatorCancels, Transition::of(second_id)).await, Applied::Moved);
    wait_a_moment().await;
    assert_eq!(finished().await, 2);
}

/// Until the database's clock, which counts milliseconds, shows another time.
async fn what_was_stored_comes_back(store: &dyn Store) {
    let mut half = half("round trip");
    half.answered_by = AnsweredBy::Fence(Uuid::new_v4().into());
    half.message = Message::bytes("e", "r", "application/octet-stream", (0..=255).collect::<Vec<u8>>())
        .business_key("Schlüssel")
        .message_type("t")
        .header("name", "välue")
        .header("name", "\"quoted\"\n")
        .priority(255);
    half.check_after = Duration::from_millis(12_345);
    let id = stored(store, &half, hold(LEASE)).await;
    let transition = Transition::of(id).because("reason");
    assert_eq!(apply(store, Event::BodyConfirms, transition).await, Applied::Moved);
    let row = claimed(store, id).await;
    assert_eq!((&row.half.message, &row.half.answered_by), (&half.message, &half.answered_by));
    assert_eq!((row.half.check_after, row.half.call_id), (half.check_after, half.call_id));
    let info = store.find(id).await.expect("found").expect("there");
    assert_eq!((info.business_key.as_deref(), info.reason.as_deref()), (Some("Schlüssel"), Some("reason")));
    assert_eq!(info.answered_by, half.answered_by.to_string());
    assert_eq!(store.find(MessageId::new()).await.expect("looks"), None);
}

async fn what_has_a_delay_is_due_after_it(store: &dyn Store) {
    let message = Message::bytes("e", "r", "t", "").delay(LEASE).expires_in(LEASE);
    let half = Half { message, ..half("delayed") };
    let id = stored(store, &half, hold(LEASE)).await;
    assert_eq!(apply(store, Event::BodyConfirms, Transition::of(id)).await, Applied::Moved);
    let is_due = async || {
        let rows = claim(store, all(), hold(LEASE)).await.expect("claims").rows;
        rows.into_iter().find(|row| row.half.id == id)
    };
    assert!(is_due().await.is_none());
    let info = store.find(id).await.expect("found").expect("there");
    let left = info.deliver_at.expect("a time").duration_since(SystemTime::now()).expect("later");
    let soon = LEASE / 2;
    assert!(left > soon && left <= LEASE + soon, "{left:?}");
    assert_eq!(operate::retried(store, id).await, Applied::Moved, "is waiting");
    let row = is_due().await.expect("is due");
    assert!(row.half.message.schedule.due().is_some() && row.half.age() < soon);
    let expires = row.half.expires.expect("expires").saturating_duration_since(Instant::now());
    assert!(expires > LEASE && expires <= 2 * LEASE + soon, "{expires:?}");
}

async fn an_amended_payload_replaces_the_first(store: &dyn Store) {
    for payload in [b"amended".as_slice(), b""] {
        let id = stored(store, &half("amended"), hold(LEASE)).await;
        let transition = Transition::of(id).amended(Some(payload.to_vec()));
        assert_eq!(apply(store, Event::BodyConfirms, transition).await, Applied::Moved);
        assert_eq!(claimed(store, id).await.half.message.payload, payload);
    }
}

async fn what_counts_on_an_undisturbed_store_is_not_done_on_another(store: &dyn Store) {
    if store.file().is_some() {
        return; // No other server takes over a file.
    }
    let id = stored(store, &half("undisturbed"), hold(LEASE)).await;
    let other = stored(store, &half("undisturbed"), hold(LEASE)).await;
    let at = |troubles| Transition::of(id).because("reason").undisturbed_since(troubles);
    for transitions in [vec![at(0)], vec![Transition::of(other), at(0)]] {
        let refused = store.transition(Event::BodyConfirms, &transitions, None).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(state(store, id).await, MessageState::Half);
        assert_eq!(state(store, other).await, MessageState::Half);
    }
    assert_eq!(apply(store, Event::BodyConfirms, at(store.troubles())).await, Applied::Moved);
}

/// Claims everything that is confirmed and due, and picks one.
async fn claimed(store: &dyn Store, id: MessageId) -> ClaimedRow {
    let rows = claim(store, all(), hold(LEASE)).await.expect("claims").rows;
    rows.into_iter().find(|row| row.half.id == id).expect("is due")
}

async fn each_service_takes_its_own(store: &dyn Store) {
    let mut ids = Vec::new();
    for service in ["billing", "shipping", OURS] {
        let answered_by = AnsweredBy::Handler { service: service.into(), name: "pay".into() };
        for _ in 0..3 {
            let half = Half { service: service.into(), answered_by: answered_by.clone(), ..half("pay") };
            ids.push(stored(store, &half, hold(LAPSED)).await);
        }
    }
    let askable = |service: &str| AnsweredBy::Handler { service: service.into(), name: "pay".into() };
    let asked = store.claim_halves(&[askable("billing")], all(), hold(LEASE)).await.expect("claims");
    let asked: Vec<_> = asked.rows.iter().map(|row| row.half.id).collect();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|id| ids[..3].contains(id)), "another service's question");
    let both = [askable("shipping"), askable(OURS)];
    assert_eq!(store.claim_halves(&both, all(), hold(LEASE)).await.expect("claims").rows.len(), 6);

    let transitions: Vec<_> = ids.iter().copied().map(Transition::of).collect();
    store.transition(Event::BodyConfirms, &transitions, None).await.expect("applied");
    let services = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let taken = async |names: &[&str], limits| {
        let claim = store.claim_confirmed(&services(names), limits, hold(LEASE)).await.expect("claims");
        claim.rows.into_iter().map(|row| (row.half.service.clone(), row.half.id)).collect::<Vec<_>>()
    };
    assert!(taken(&["nobody"], all()).await.is_empty() && taken(&[], all()).await.is_empty());
    let billing = taken(&["billing", "nobody"], all()).await;
    assert!(
        billing.len() == 3
            && billing.iter().all(|(service, id)| service == "billing" && ids[..3].contains(id))
    );
    // An even share for each.
    let mut some = taken(&["shipping", OURS], ClaimLimits { rows: 4, ..all() }).await;
    some.sort_unstable();
    let of = |name: &str| some.iter().filter(|(service, _)| service == name).count();
    assert_eq!((some.len(), of("shipping"), of(OURS)), (4, 2, 2));
    let info = store.find(ids[0]).await.expect("found").expect("there");
    assert_eq!((info.service.as_str(), info.answered_by.as_str()), ("billing", "handler:pay"));
    let confirmed = store.list(MessageState::Confirmed, None, 1000).await.expect("lists");
    let listed: Vec<_> = confirmed.iter().map(|message| message.id).filter(|id| ids.contains(id)).collect();
    let mut newest = ids.clone();
    newest.sort_unstable_by(|one, two| two.cmp(one));
    assert_eq!(listed, newest, "of all services, the newest first");
}

async fn only_others_services_are_reported(store: &dyn Store) {
    for service in ["forsaken", OURS] {
        for _ in 0..3 {
            let half = Half { service: service.into(), ..half("reported") };
            let id = stored(store, &half, hold(LEASE)).await;
            assert_eq!(apply(store, Event::BodyConfirms, Transition::of(id)).await, Applied::Moved);
        }
    }
    let ours = [OURS.to_owned()];
    let due = async |due_for, limit| {
        let mut due = store.due_by_service(due_for, &ours, limit).await.expect("counts");
        due.retain(|(service, _)| service == "forsaken" || service == OURS);
        due
    };
    wait_a_moment().await;
    assert_eq!(due(Duration::ZERO, 10).await, [("forsaken".to_owned(), 3)]);
    assert_eq!(due(Duration::ZERO, 2).await, [("forsaken".to_owned(), 2)]);
    assert!(due(LEASE, 10).await.is_empty(), "not due for so long");
    assert!(store.due_by_answerer(LEASE).await.expect("counts").is_empty());
}
