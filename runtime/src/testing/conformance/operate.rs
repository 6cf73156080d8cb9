//! What every store must do for those who operate it.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::rows::{LAPSED, LEASE, apply, half, hold, message_in, state, stored};
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{Half, Message, MessageId};
use crate::store::{
    Action, Actor, AuditFilter, Decision, Entry, Filter, HeldBy, ProcessInfo, SCAN, Store, Transition,
    Unfinished,
};

pub(super) async fn paging(store: &dyn Store) {
    let before = store.stats().await.expect("counts");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(message_in(store, MessageState::Dead, hold(LEASE)).await);
    }
    let after = store.stats().await.expect("counts");
    assert_eq!(after.dead, before.dead + 5);
    assert!(after.oldest_unfinished.is_some());
    let unfinished = store.unfinished().await.expect("counts");
    let age = unfinished.oldest;
    assert_eq!(unfinished, Unfinished { oldest: age, ..Unfinished::from(after.clone()) });
    assert!(age >= after.oldest_unfinished);
    ids.reverse();
    let first = store.list(MessageState::Dead, None, 3).await.expect("lists");
    let second = store.list(MessageState::Dead, Some(first[2].id), 2).await.expect("lists");
    let listed: Vec<_> = first.iter().chain(&second).map(|message| message.id).collect();
    assert_eq!(listed, ids);
    for (id, state) in ids.iter().zip([MessageState::Dead; 5]) {
        assert_eq!(self::state(store, *id).await, state);
    }
}

async fn found(store: &dyn Store, filter: Filter) -> Vec<MessageId> {
    let page = store.search(&filter, None, 10).await.expect("searches");
    page.messages.into_iter().map(|message| message.id).collect()
}

/// Each condition finds the one message that meets it, and all of them together.
pub(super) async fn searching(store: &dyn Store) {
    let message = Message::bytes("searched", "a.key", "text/plain", "body")
        .business_key("order-7")
        .message_type("Paid");
    let first =
        Half { message, function: "shop::orders::pay".into(), service: "search".into(), ..half("search") };
    let of_call = Half { call_id: first.call_id, ..half("search") };
    let id = stored(store, &first, hold(LEASE)).await;
    let other = stored(store, &of_call, hold(LEASE)).await;
    for (id, why) in [(id, "No ROUTE to `q`"), (other, "too old")] {
        assert_eq!(apply(store, Event::Park, Transition::of(id).because(why)).await, Applied::Moved);
    }
    let parked = || Filter::from(MessageState::Parked);
    for filter in [
        parked().service("search"),
        parked().function("pay"),
        Filter::default().function("shop::orders::pay"),
        Filter::default().exchange("searched"),
        Filter::default().business_key("order-7"),
        Filter::default().message_type("Paid"),
        parked().reason("no route"),
        parked().exchange("searched").business_key("order-7").reason("ROUTE").answered_by("handler:search"),
    ] {
        assert_eq!(found(store, filter.clone()).await, [id], "{filter:?}");
    }
    for filter in [
        Filter::from(MessageState::Dead).exchange("searched"),
        parked().exchange("search"),
        parked().function("ay"),
        parked().reason("no route to us"),
        parked().exchange("searched").business_key("order-8"),
    ] {
        assert!(found(store, filter.clone()).await.is_empty(), "{filter:?}");
    }
    assert_eq!(found(store, Filter::default().call_id(first.call_id)).await, [other, id]);
    assert_eq!(found(store, parked().answered_by("handler:search")).await, [other, id]);
    let (now, minute) = (SystemTime::now(), Duration::from_mins(1));
    assert!(found(store, parked().since(now - minute)).await.contains(&id));
    assert!(found(store, parked().since(now + minute)).await.is_empty());
    assert!(found(store, parked().until(now - minute)).await.is_empty());
    let info = store.find(id).await.expect("found").expect("there");
    assert_eq!(
        (info.payload_bytes, info.content_type.as_str(), info.held_by, info.due_at),
        (4, "text/plain", None, None)
    );
    let holder = hold(LEASE);
    let held = stored(store, &half("search"), holder).await;
    let info = store.find(held).await.expect("found").expect("there");
    assert_eq!(info.held_by, Some(HeldBy::Process(holder.token)));
    assert!(info.created_at <= info.read_at && info.due_at > Some(info.read_at));
    let contents = store.contents(id).await.expect("reads").expect("there");
    assert_eq!((contents.headers, contents.payload), (Vec::new(), b"body".to_vec()));
    assert!(store.contents(MessageId::new()).await.expect("reads").is_none());
}

/// A page that looked at many and found none says where to go on.
pub(super) async fn a_search_is_bounded(store: &dyn Store) {
    let wanted = stored(store, &Half { function: "rare".into(), ..half("rare") }, hold(LEASE)).await;
    let mut ids = vec![wanted];
    for _ in 0..SCAN.div_ceil(500) {
        let halves: Vec<Half> = (0..500).map(|_| half("common")).collect();
        store.insert_halves(&halves.iter().collect::<Vec<_>>(), hold(LEASE)).await.expect("stored");
        ids.extend(halves.iter().map(|half| half.id));
    }
    for ids in ids.chunks(500) {
        let all: Vec<_> = ids.iter().copied().map(Transition::of).collect();
        let applied = store.transition(Event::CancelFinal, &all, None).await.expect("applied");
        assert!(applied.iter().all(|one| *one == Applied::Moved));
    }
    let filter = Filter::from(MessageState::Cancelled).function("rare");
    let page = store.search(&filter, None, 10).await.expect("searches");
    assert!(page.messages.is_empty() && page.next.is_some(), "{page:?}");
    let page = store.search(&filter, page.next, 10).await.expect("searches");
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [wanted]);
    let first = store.search(&Filter::from(MessageState::Cancelled), None, 2).await.expect("searches");
    let second = store.search(&Filter::from(MessageState::Cancelled), first.next, 2).await.expect("searches");
    let ids: Vec<_> = ids.iter().rev().take(4).copied().collect();
    let listed: Vec<_> = first.messages.iter().chain(&second.messages).map(|message| message.id).collect();
    assert_eq!(listed, ids);
    // They are old, and not wanted by what follows.
    store.delete_finished(&ids).await.expect("deletes");
}

pub(super) fn decision_of(id: MessageId, action: Action) -> Decision {
    let entry =
        Entry::new(Actor::new("ana@desk", "test"), "looked → it up", Some("the fence says so".into()));
    Decision { id, action, payload: None, entry }
}

/// What becomes of a message that is to be tried now.
pub(super) async fn retried(store: &dyn Store, id: MessageId) -> Applied {
    store.decide(&decision_of(id, Action::Retry)).await.expect("decides")
}

/// The decisions that are kept about a message, the newest first.
async fn kept(store: &dyn Store, id: MessageId) -> Vec<String> {
    let records = store.audit(&AuditFilter::default().message(id), 10).await.expect("reads");
    records.into_iter().map(|record| record.action).collect()
}

pub(super) async fn decisions_are_kept(store: &dyn Store) {
    let parked = message_in(store, MessageState::Parked, hold(LEASE)).await;
    let confirm = Decision { payload: Some(b"amended".to_vec()), ..decision_of(parked, Action::Confirm) };
    assert_eq!(store.decide(&confirm).await.expect("decides"), Applied::Moved);
    let record = store.audit(&AuditFilter::default().message(parked), 10).await.expect("reads").remove(0);
    assert_eq!(
        (record.id, record.message_id, record.action.as_str()),
        (confirm.entry.id, Some(parked), "confirm")
    );
    assert_eq!((record.user.as_str(), record.via.as_str()), ("ana@desk", "test"));
    assert_eq!(
        (record.reason.as_str(), record.evidence.as_deref()),
        ("looked → it up", Some("the fence says so"))
    );
    let info = store.find(parked).await.expect("found").expect("there");
    assert_eq!((info.state, info.attempts), (MessageState::Confirmed, 0));
    assert_eq!(info.reason.as_deref(), Some("confirmed by hand: looked → it up"));
    assert!(info.due_at.is_some_and(|due| due <= info.read_at) && info.held_by.is_none());
    assert_eq!(store.contents(parked).await.expect("reads").expect("there").payload, b"amended");

    let parked = message_in(store, MessageState::Parked, hold(LEASE)).await;
    assert_eq!(store.decide(&decision_of(parked, Action::Cancel)).await.expect("decides"), Applied::Moved);
    let info = store.find(parked).await.expect("found").expect("there");
    assert!(info.state == MessageState::Cancelled && info.finished_at.is_some() && info.due_at.is_none());

    let dead = message_in(store, MessageState::Dead, hold(LEASE)).await;
    let retry = decision_of(dead, Action::Retry);
    assert_eq!(store.decide(&retry).await.expect("decides"), Applied::Moved);
    assert_eq!(state(store, dead).await, MessageState::Confirmed);
    // Who stood still for long comes back with what another one has decided since: once is enough.
    assert_eq!(apply(store, Event::GiveUp, Transition::of(dead)).await, Applied::Moved);
    assert_eq!(store.decide(&retry).await.expect("decides"), Applied::Moved);
    assert_eq!(state(store, dead).await, MessageState::Dead);
    store.record(&decision_of(dead, Action::View)).await.expect("is kept");
    assert_eq!(kept(store, dead).await, ["view", "retry"]);

    let all = store.audit(&AuditFilter::default().user("ana@desk"), 4).await.expect("reads");
    assert_eq!(
        all.iter().map(|record| record.action.as_str()).collect::<Vec<_>>(),
        ["view", "retry", "cancel", "confirm"]
    );
    let older = store.audit(&AuditFilter::default().before(all[1].id), 1).await.expect("reads");
    assert_eq!(older[0], all[2]);
    let minute = Duration::from_mins(1);
    let since = |time| AuditFilter::default().since(time);
    assert!(store.audit(&since(all[3].at - minute), 10).await.expect("reads").len() >= 4);
    assert!(store.audit(&since(all[0].at + minute), 10).await.expect("reads").is_empty());
    assert!(store.audit(&AuditFilter::default().user("bea"), 10).await.expect("reads").is_empty());
}

pub(super) async fn what_is_refused_is_not_kept(store: &dyn Store) {
    let waiting = stored(store, &half("waits"), hold(LAPSED)).await;
    for (action, id, expected) in [
        (Action::Confirm, waiting, Applied::Conflict(MessageState::Half)),
        (Action::Cancel, waiting, Applied::Conflict(MessageState::Half)),
        // Somebody holds it, or did.
        (Action::Retry, waiting, Applied::Conflict(MessageState::Half)),
        (Action::Cancel, MessageId::new(), Applied::Missing),
    ] {
        assert_eq!(store.decide(&decision_of(id, action)).await.expect("decides"), expected, "{action}");
        assert!(kept(store, id).await.is_empty(), "{action}");
    }
    let cancelled = message_in(store, MessageState::Cancelled, hold(LEASE)).await;
    assert_eq!(
        store.decide(&decision_of(cancelled, Action::Cancel)).await.expect("decides"),
        Applied::Already
    );
    assert!(kept(store, cancelled).await.is_empty());
}

pub(super) async fn processes_come_and_go(store: &dyn Store) {
    let process = ProcessInfo {
        host: "host".into(),
        services: vec!["orders".into()],
        delivers: true,
        answers: vec!["handler:pay".into()],
        consumers: vec!["queue".into()],
        settings: [("lease".to_owned(), "5s".to_owned())].into(),
        ..ProcessInfo::this(Uuid::new_v4())
    };
    let ours = async || {
        let all = store.processes().await.expect("reads");
        all.into_iter().find(|one| one.token == process.token)
    };
    assert!(ours().await.is_none());
    store.announce(&process).await.expect("announces");
    let first = ours().await.expect("is there");
    assert!(
        first.is_alive() && first.started_at == first.seen_at && first.started_at > SystemTime::UNIX_EPOCH
    );
    let ProcessInfo { started_at, seen_at, silent_for, .. } = first;
    assert_eq!(first, ProcessInfo { started_at, seen_at, silent_for, ..process.clone() });
    let later = ProcessInfo { consumers: Vec::new(), ..process.clone() };
    store.announce(&later).await.expect("announces");
    let second = ours().await.expect("is there");
    assert!(second.consumers.is_empty() && second.started_at == started_at && second.seen_at >= seen_at);
    store.withdraw(process.token).await.expect("withdraws");
    assert!(ours().await.is_none());
}
