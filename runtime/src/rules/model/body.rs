//! The body's process: half, body, the business database, and the report.

use super::rules::{Bug, May, Model};
use super::steps::{At, Cause, Steps};
use super::world::{Asker, Body, Call, Change, Effect, Fence, Holder, Message, Relay, Report, Row, Truth};
use crate::message::state::{Applied, Event, MessageState};
use crate::rules::body_state::{Commit, Withheld};
use crate::rules::ending::Ending;

use Cause::{Fault, System};

pub(super) fn steps(out: &mut Steps<'_>, c: usize, call: &Call) {
    if out.model.fenced() {
        transaction(out, c, call);
    } else {
        request(out, c, call);
    }
    match call.body {
        Body::Storing => store(out, c),
        Body::Running | Body::InTransaction => {
            endings(out, c, call);
            if out.model.may(May::Withhold) && call.commit == Commit::Not && call.truth == Truth::Nothing {
                let in_transaction = call.body == Body::InTransaction || call.is_in_its_callers();
                out.call(c, System, "the body withholds", |call, _| {
                    call.withheld = call.withheld.said(in_transaction);
                    call.meant = call.meant.said(in_transaction);
                });
            }
        }
        Body::NeverRan => {
            out.call(c, System, "the half messages are stored late", |call, _| {
                insert_halves(call);
                call.body = Body::Over;
            });
            out.call(c, System, "the half messages never come", |call, _| call.body = Body::Over);
        }
        Body::Waiting | Body::Over => {}
    }
    if call.is_live() && out.model.may(May::Vanish) {
        out.call(c, Fault, "the body panics, or its future is dropped", |call, model| {
            call.end(model, Ending::Vanished);
        });
    }
}

fn store(out: &mut Steps<'_>, c: usize) {
    out.call(c, System, "the half messages are stored; the body starts", |call, _| {
        insert_halves(call);
        call.body = Body::Running;
    });
    out.call(c, Fault, "the half messages are not stored", |call, model| call.end(model, Ending::NeverRan));
    if out.model.may(May::LoseAnswers) {
        out.call(c, Fault, "the half messages are not stored in time", |call, model| {
            call.end(model, Ending::NeverRan);
            call.body = Body::NeverRan;
        });
    }
    if out.model.may(May::Vanish) {
        out.call(c, Fault, "the half messages are stored, and the caller has left", |call, model| {
            insert_halves(call);
            call.end(model, Ending::NeverRan);
        });
    }
}

fn insert_halves(call: &mut Call) {
    for message in call.messages.iter_mut().flatten() {
        message.row = Some(Row::new(MessageState::Half));
    }
}

fn endings(out: &mut Steps<'_>, c: usize, call: &Call) {
    let (fenced, took_effect) = (out.model.fenced(), call.truth != Truth::Nothing);
    // What a body with a handler says about its effect is true: nobody else could know.
    if fenced || took_effect || call.withheld != Withheld::No && call.effect == Effect::None {
        out.call(c, System, "the body returns Ok", |call, model| call.end(model, Ending::Ok));
    }
    if fenced || out.model.may(May::AskOnErr) || (!took_effect && call.effect == Effect::None) {
        out.call(c, System, "the body returns Err", |call, model| call.end(model, Ending::Err));
    }
}

/// The fenced transaction, and what the database makes of it.
fn transaction(out: &mut Steps<'_>, c: usize, call: &Call) {
    match (call.body, call.effect) {
        (Body::Running, Effect::None) if call.commit == Commit::Not => begin(out, c, call),
        (Body::Running, Effect::Open) if call.is_in_its_callers() && call.withheld == Withheld::No => {
            done(out, c, false);
            if out.model.may(May::Amend) {
                done(out, c, true);
            }
        }
        (Body::InTransaction, _) => {
            out.call(c, System, "rolled back", |call, _| {
                call.effect = Effect::None;
                call.body = Body::Running;
                call.amended = false;
            });
            send_commit(out, c, false);
            if out.model.may(May::Amend) {
                send_commit(out, c, true);
            }
        }
        (Body::Waiting, effect) => replies(out, c, call, effect),
        _ => {}
    }
    if call.is_in_its_callers() && call.body == Body::Over && out.world.alive {
        let done_at_once = out.model.has(Bug::EnteredIsDone);
        out.call(c, System, "the caller commits what was not done", |call, _| {
            call.effect = Effect::None;
            call.fence = if done_at_once { Fence::Committed { amended: false } } else { Fence::Withheld };
        });
    }
    match call.effect {
        Effect::Open if call.body != Body::InTransaction || !out.world.alive => {
            out.call(c, System, "the database rolls the abandoned transaction back", |call, _| {
                call.effect = Effect::None;
            });
        }
        // The caller has its transaction back when the body is over.
        Effect::Sent { .. } if call.entered && call.body != Body::Over => {}
        Effect::Sent { withheld, amended } => {
            let unwritten = out.model.has(Bug::WithholdIsNotWritten);
            let forgets = out.model.has(Bug::AmendedPayloadIsNotWritten);
            out.call(c, System, "the database commits", |call, _| {
                call.effect = Effect::None;
                call.truth = Truth::TookEffect { withheld: call.meant != Withheld::No, amended };
                call.fence = if withheld && !unwritten {
                    Fence::Withheld
                } else {
                    Fence::Committed { amended: amended && !forgets }
                };
            });
            out.call(c, System, "the commit does not reach the database", |call, _| {
                call.effect = Effect::None;
            });
        }
        _ => {}
    }
}

fn begin(out: &mut Steps<'_>, c: usize, call: &Call) {
    if call.fence == Fence::None {
        out.call(c, System, "begin: the fence row goes in", |call, model| {
            begins(call, model);
            call.effect = Effect::Open;
            call.body = Body::InTransaction;
        });
        if out.model.may(May::Enter) {
            out.call(c, System, "enter: the fence row goes into the caller's transaction", |call, model| {
                begins(call, model);
                call.entered = true;
                call.effect = Effect::Open;
            });
        }
    } else {
        out.call(c, System, "begin is refused: fenced", begins);
    }
}

fn begins(call: &mut Call, model: &Model) {
    call.begun = true;
    call.entered = false;
    call.meant = call.meant.begins();
    if !model.has(Bug::WithholdOutlivesItsTransaction) {
        call.withheld = call.withheld.begins();
    }
}

fn send_commit(out: &mut Steps<'_>, c: usize, amended: bool) {
    let what = if amended { "amends, and sends the commit" } else { "sends the commit" };
    out.call(c, System, what, |call, _| {
        call.amended = amended;
        call.commit = Commit::Unclear;
        call.effect = Effect::Sent { withheld: call.withheld != Withheld::No, amended };
        call.body = Body::Waiting;
    });
}

fn done(out: &mut Steps<'_>, c: usize, amended: bool) {
    let what = if amended { "amends, and is done" } else { "is done" };
    out.call(c, System, what, |call, _| {
        call.amended = amended;
        call.commit = Commit::Callers;
        call.effect = Effect::Sent { withheld: false, amended };
    });
}

fn replies(out: &mut Steps<'_>, c: usize, call: &Call, effect: Effect) {
    let committed = matches!(call.fence, Fence::Committed { .. } | Fence::Withheld);
    if effect == Effect::None && (committed || out.model.has(Bug::CommitIsNotProven)) {
        out.call(c, System, "the commit is proven", |call, _| {
            call.commit = Commit::Proven;
            call.body = Body::Running;
        });
    }
    if effect == Effect::None && !committed {
        out.call(c, System, "the commit is refused, and rolled back", |call, _| {
            call.commit = Commit::Not;
            call.amended = false;
            call.body = Body::Running;
        });
    }
    out.call(c, Fault, "the reply to the commit is lost", |call, _| call.body = Body::Running);
}

/// What a body with a handler does: something elsewhere, once.
fn request(out: &mut Steps<'_>, c: usize, call: &Call) {
    if call.body == Body::Running && call.commit == Commit::Not && call.withheld == Withheld::No {
        out.call(c, System, "sends its request", |call, _| {
            call.commit = Commit::Unclear;
            call.effect = Effect::Sent { withheld: false, amended: false };
            call.body = Body::Waiting;
        });
    }
    if call.body == Body::Waiting {
        if call.effect == Effect::None {
            out.call(c, System, "gets its reply", |call, _| call.body = Body::Running);
        } else {
            out.call(c, Fault, "the reply is lost", |call, _| call.body = Body::Running);
        }
    }
    if let Effect::Sent { withheld, amended } = call.effect {
        out.call(c, System, "the request takes effect", |call, _| {
            call.effect = Effect::None;
            call.truth = Truth::TookEffect { withheld, amended };
        });
        out.call(c, System, "the request comes to nothing", |call, _| call.effect = Effect::None);
    }
}

/// The reporter, on its way to the store.
pub(super) fn report(out: &mut Steps<'_>, at: At, message: &Message) {
    let Some(report) = message.report else { return };
    // What was in memory died with the process; a statement in flight may still arrive.
    if out.model.may(May::Fail) || !out.world.alive {
        out.message(at, Fault, "the report is lost", |message, _| message.report = None);
    }
    match report {
        Report::Confirm { amended } => {
            if out.model.fenced() && out.model.may(May::Fail) {
                let what = "the store was away, and may be another: its own checker begins to ask";
                out.message(at, Fault, what, ask_fence);
            }
            confirm(out, at, amended, "confirmed, and handed to the relay", System, true);
            confirm(out, at, amended, "confirmed; the relay's queue is full", System, false);
            if out.model.may(May::LoseAnswers) {
                out.message(at, Fault, "confirmed, and the answer is lost", |message, model| {
                    let change = Change { amended: Some(amended), hold: Holder::Process, ..Change::PLAIN };
                    message.transition(model, Event::BodyConfirms, change);
                });
            }
        }
        Report::Cancel => out.message(at, System, "cancelled by its body", |message, model| {
            message.report = None;
            message.transition(model, Event::CancelFinal, Change::PLAIN);
        }),
        Report::ParkForgotten => out.message(at, System, "parked: forgot `begin`", |message, model| {
            message.report = None;
            message.transition(model, Event::Park, Change { forgotten: true, ..Change::PLAIN });
        }),
        Report::AskLater => out.message(at, System, "given back, to be asked later", |message, model| {
            message.report = None;
            message.make_sure(model);
            message.release(Holder::Process, false);
        }),
        Report::AwaitCommit => out.message(at, System, "its own checker begins to wait", |message, _| {
            message.report = None;
            message.own = Asker::Awaiting;
        }),
        Report::AskFence => out.message(at, System, "its own checker begins to ask", |message, model| {
            message.report = None;
            message.own = Asker::Asking { before: 0, counted: !model.counts() };
        }),
    }
}

fn confirm(out: &mut Steps<'_>, at: At, amended: bool, what: &'static str, cause: Cause, hand_over: bool) {
    let alive = out.world.alive;
    out.message(at, cause, what, |message, model| {
        message.report = None;
        let change = Change { amended: Some(amended), hold: Holder::Process, ..Change::PLAIN };
        match message.transition(model, Event::BodyConfirms, change) {
            Applied::Moved => {}
            // The store has failed over, and the business database with it, perhaps.
            Applied::Missing if model.fenced() && alive => return ask_fence(message, model),
            Applied::Missing if !model.has(Bug::GoneHalfIsNotStoredAnew) => insert_anew(message, amended),
            Applied::Missing | Applied::Already | Applied::Conflict(_) => return,
        }
        if !alive {
            message.abandon(Holder::Process);
        } else if hand_over && message.relays[0] == Relay::Idle {
            message.relays[0] = Relay::Publishing { attempt: 1, amended };
        } else {
            message.release(Holder::Process, false);
        }
    });
}

/// The half is stored again where it is gone, and the fence asked.
fn ask_fence(message: &mut Message, model: &Model) {
    message.report = None;
    message.make_sure(model);
    message.own = Asker::Asking { before: 0, counted: !model.counts() };
}

/// The half is gone, and its action took effect: stored anew, confirmed.
pub(super) fn insert_anew(message: &mut Message, amended: bool) {
    message.row = Some(Row { amended, ..Row::new(MessageState::Confirmed) });
}
