//! What a person may decide: the conditions, and why something is refused.

use crate::message::Evidence;
use crate::message::state::MessageState;
use crate::store::Action;

/// Why a person may not decide so. Continues "the message …".
pub(crate) type Refusal = String;

/// Whether `action` may be taken, as far as it is known. The store has the last word on the state, and a fence that is
/// closed for a cancellation on the evidence.
pub(crate) fn may(
    action: Action,
    state: MessageState,
    held: bool,
    evidence: &Evidence,
) -> Result<(), Refusal> {
    match action {
        Action::Confirm => decide(state, evidence, "confirmed", |evidence| match evidence {
            Evidence::Committed { .. } | Evidence::NoFence => Ok(()),
            Evidence::Withheld => Err("its fence says that there is nothing to send"),
            Evidence::Closed => Err("its fence says that the business action took no effect"),
            Evidence::NoRow => Err("its fence has no row, so no transaction of it has committed"),
            Evidence::Unknown(_) => Err("its fence gives no answer"),
        }),
        Action::Cancel => decide(state, evidence, "cancelled", |evidence| match evidence {
            Evidence::Committed { .. } => Err("its fence says that the business action took effect"),
            Evidence::Withheld | Evidence::Closed | Evidence::NoRow | Evidence::NoFence => Ok(()),
            Evidence::Unknown(_) => Err("its fence gives no answer"),
        }),
        Action::Retry => match state {
            MessageState::Dead => Ok(()),
            MessageState::Half | MessageState::Confirmed if !held => Ok(()),
            _ => Err(format!("is {state}: there is nothing to try again, or it is being worked on")),
        },
        // What a consumer could not handle is not the sender's any more, nor is its state.
        Action::View | Action::Pause | Action::Resume | Action::Redrive | Action::Discard => Ok(()),
    }
}

fn decide(
    state: MessageState,
    evidence: &Evidence,
    decided: &str,
    contradicts: impl Fn(&Evidence) -> Result<(), &'static str>,
) -> Result<(), Refusal> {
    if state != MessageState::Parked {
        return Err(format!("is {state}: only a parked message can be decided by hand"));
    }
    contradicts(evidence).map_err(|why| match evidence {
        Evidence::Unknown(because) => format!("can't be {decided}: {why} ({because})"),
        _ => format!("can't be {decided}: {why}"),
    })
}
