//! What is announced of a message is what happens: in every world that can be reached, and to every message there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::explore::visit;
use super::rules::{BUDGET, Model};
use super::steps::{Action, Cause as By};
use super::tests::{DELIVERED, ENTERED, FENCED, HASTY, HONEST};
use super::world::{Asker, Body, Call, Effect, Holder, Message, Relay, World};
use crate::message::state::{Event, MessageState};
use crate::message::{AnsweredBy, FenceId};
use crate::rules::explain::{Budgets, Cause, Next, Seen, foresee};
use crate::store;

const HORIZON: Duration = Duration::from_secs(1);
const BUDGETS: Budgets = Budgets { questions: BUDGET, horizon: HORIZON, deliveries: BUDGET, known: true };

/// Something that can be done to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Becomes(MessageState),
    /// A checker or a relay takes it up.
    IsTakenUp,
    IsGivenBack,
    /// Its lease lapses, or its pause ends.
    FallsDue,
    /// Its body's process makes sure of it.
    IsRenewed,
    /// A question is counted before it is asked.
    IsCounted,
    IsDeleted,
}

use Happens::*;
use MessageState::{Cancelled, Confirmed, Dead, Delivered, Parked};

/// What is announced by a `Next`, while nobody else has anything to say about the message.
fn announced(next: Next) -> &'static [Happens] {
    match next {
        Next::Report => &[Becomes(Confirmed), Becomes(Cancelled), Becomes(Parked), IsGivenBack, FallsDue],
        Next::Answer => &[
            Becomes(Confirmed),
            Becomes(Cancelled),
            Becomes(Parked),
            IsGivenBack,
            FallsDue,
            IsRenewed,
            IsCounted,
        ],
        Next::AskFence | Next::AskHandler | Next::Park | Next::Publish => &[IsTakenUp, FallsDue],
        Next::AskHandlerAlone | Next::WaitFirst => &[IsTakenUp],
        Next::Acknowledge => &[Becomes(Delivered), Becomes(Dead), IsGivenBack, FallsDue],
        Next::Decide => &[Becomes(Confirmed), Becomes(Cancelled)],
        Next::Delete => &[IsDeleted],
        // The model knows no time at which a message expires, and there is always a process.
        Next::Expire | Next::Wait => &[],
    }
}

/// What the late word of its own process, or of a checker or a relay whose lease lapsed, may do to a message besides.
fn late(state: MessageState) -> &'static [Happens] {
    match state {
        MessageState::Half => {
            &[Becomes(Confirmed), Becomes(Cancelled), Becomes(Parked), IsRenewed, IsGivenBack, IsCounted]
        }
        Confirmed => &[Becomes(Delivered), Becomes(Dead), IsRenewed, IsGivenBack],
        Dead => &[Becomes(Delivered)],
        Parked | Cancelled => &[Becomes(Confirmed)],
        Delivered | MessageState::Expired => &[],
    }
}

/// Nobody has anything in memory about the message: what is in its row is all there is.
fn is_at_rest(call: &Call, message: &Message) -> bool {
    let Message { report, own, checkers, relays, .. } = message;
    call.body == Body::Over
        && call.effect == Effect::None
        && report.is_none()
        && *own == Asker::Idle
        && *checkers == [Asker::Idle; 2]
        && *relays == [Relay::Idle; 2]
}

fn explained(model: &Model, world: &World, message: &Message) -> Option<(Cause, Next)> {
    let row = message.row?;
    let fence = AnsweredBy::Fence(FenceId::from_uuid(Uuid::nil()));
    let handler = AnsweredBy::Handler { service: String::new(), name: String::new() };
    let answered_by = match (row.forgotten, model.fenced()) {
        (true, _) => AnsweredBy::Nobody,
        (false, true) => fence,
        (false, false) => handler,
    };
    let seen = Seen {
        state: row.state,
        answered_by: &answered_by,
        holder: match row.holder {
            Holder::Nobody => None,
            Holder::Checker(_) | Holder::GoneChecker => Some(store::Holder::Checker),
            Holder::Process | Holder::Relay | Holder::Gone => Some(store::Holder::Process),
        },
        due: row.due,
        attempts: row.attempts.into(),
        age: if world.overdue { HORIZON * 2 } else { Duration::ZERO },
        check_after: if model.fenced() { Duration::ZERO } else { HORIZON },
        delayed: false,
        late: false,
    };
    Some(foresee(&seen, &BUDGETS))
}

fn happens(before: &Message, after: &Message) -> Option<Happens> {
    let (Some(one), Some(other)) = (before.row, after.row) else {
        return before.row.map(|_| IsDeleted);
    };
    if one.state != other.state {
        return Some(Becomes(other.state));
    }
    let taken =
        before.checkers.iter().zip(&after.checkers).any(|(a, b)| *a == Asker::Idle && *b != Asker::Idle)
            || before.relays.iter().zip(&after.relays).any(|(a, b)| *a == Relay::Idle && *b != Relay::Idle);
    match () {
        () if one == other => None,
        () if taken => Some(IsTakenUp),
        () if other.holder == Holder::Nobody && one.holder != Holder::Nobody => Some(IsGivenBack),
        () if !one.due && other.due => Some(FallsDue),
        () if other.holder == Holder::Process => Some(IsRenewed),
        () if other.attempts > one.attempts => Some(IsCounted),
        // Whose token it is matters only to the model.
        () => None,
    }
}

/// Which asker, or relay, follows from what was announced.
fn begins_as_announced(next: Next, after: &Message) -> bool {
    let asks = |wanted: fn(&Asker) -> bool| after.checkers.iter().any(wanted);
    match next {
        Next::AskFence | Next::AskHandler => asks(|asker| matches!(asker, Asker::Asking { .. })),
        Next::AskHandlerAlone => asks(|asker| *asker == Asker::Entering),
        Next::WaitFirst => asks(|asker| *asker == Asker::GivingBack { spend: false }),
        Next::Park => asks(|asker| matches!(asker, Asker::Deciding { event: Event::Park, .. })),
        Next::Publish => after.relays.iter().any(|relay| matches!(relay, Relay::Publishing { .. })),
        _ => false,
    }
}

/// Looks at one step; says what is wrong with the announcement.
fn check(
    call: &Call,
    before: &Message,
    action: &Action,
    after: &Message,
    said: (Cause, Next),
) -> Result<(), String> {
    let Some(happens) = happens(before, after) else { return Ok(()) };
    let state = before.state().expect("there is a row");
    let wrong = |why| Err(format!("{why}: {said:?} was announced, and then {happens:?} by {action}"));
    let by_itself = is_at_rest(call, before);
    if !announced(said.1).contains(&happens) && (by_itself || !late(state).contains(&happens)) {
        return wrong("not announced");
    }
    if happens == IsTakenUp && !begins_as_announced(said.1, after) {
        return wrong("something else begins");
    }
    if said.1 == Next::Decide && by_itself && action.cause == By::System {
        return wrong("nothing happens without a person");
    }
    Ok(())
}

/// What was announced of messages at rest, and what happened to them: everything that was announced happens somewhere.
#[derive(Default)]
struct Found {
    announced: BTreeSet<Next>,
    happened: BTreeMap<Next, BTreeSet<Happens>>,
    checked: usize,
}

fn look(model: &Model, found: &mut Found) {
    visit(model, |world, steps| {
        for (c, call) in world.calls.iter().enumerate() {
            let Some(call) = call else { continue };
            for (m, message) in call.messages.iter().enumerate() {
                let Some(message) = message else { continue };
                let Some(said) = explained(model, world, message) else { continue };
                found.announced.insert(said.1);
                let mut goes_on = false;
                for (action, after) in steps.iter().filter(|(action, _)| action.cause != By::Fault) {
                    let other = after.calls[c].and_then(|call| call.messages[m]).expect("it stays");
                    if let Err(wrong) = check(call, message, action, &other, said) {
                        panic!("{}: {wrong}\nin {world}", model.name);
                    }
                    if let Some(happens) = happens(message, &other) {
                        found.happened.entry(said.1).or_default().insert(happens);
                        goes_on |= action.cause == By::System;
                    }
                    found.checked += 1;
                }
                // What is announced for now, or for later, does come by itself.
                let waits = matches!(said.1, Next::Decide | Next::Delete);
                assert!(
                    waits || goes_on || !is_at_rest(call, message),
                    "{}: {said:?}, in {world}",
                    model.name
                );
            }
        }
    });
}

#[test]
fn what_is_announced_is_what_happens() {
    let mut found = Found::default();
    for model in [&FENCED, &ENTERED, &DELIVERED, &HONEST, &HASTY] {
        look(model, &mut found);
    }
    for next in &found.announced {
        let missing: Vec<_> =
            announced(*next).iter().filter(|happens| !found.happened[next].contains(happens)).collect();
        assert!(missing.is_empty(), "{next:?} announces what never happens: {missing:?}");
    }
    let all = [
        Next::Report,
        Next::AskFence,
        Next::AskHandler,
        Next::AskHandlerAlone,
        Next::WaitFirst,
        Next::Answer,
        Next::Park,
        Next::Publish,
        Next::Acknowledge,
        Next::Decide,
        Next::Delete,
    ];
    assert_eq!(found.announced, BTreeSet::from(all), "the model knows no time at which a message expires");
    eprintln!("{} steps of messages checked", found.checked);
}
