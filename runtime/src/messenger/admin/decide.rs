//! Deciding what waits for a person, and trying again. Each decision is kept, with who took it and why.

use super::{Admin, refused};
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::fence::verdict::Verdict;
use crate::message::state::{Applied, MessageState};
use crate::message::{Evidence, MessageId};
use crate::rules::by_hand::may;
use crate::store::{Action, Decision, MessageInfo};
use crate::telemetry::catalogue::{DECISIONS, OVERRULED};
use crate::telemetry::labels::{Decided, Overruler};

impl Admin<'_> {
    /// Delivers a parked message: its business action took effect. A fenced message's fence is read
    /// first, and must say so, too; when the function forgot `begin`, only the operator's word counts.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not parked, or its fence says that it did not take
    /// effect or gives no answer; [`ErrorKind::Unavailable`].
    pub async fn confirm(self, id: MessageId, reason: &str) -> Result<(), Error> {
        let message = self.known(id).await?;
        allowed(Action::Confirm, &message, &Evidence::NoFence)?;
        let (evidence, payload) = match self.fence_of(&message)? {
            None => (Evidence::NoFence, None),
            Some((fence, identity)) => match fence.read(identity, message.call_id).await {
                Some(Verdict::Committed { amended }) => {
                    (Evidence::Committed { amended: amended.is_some() }, amended)
                }
                verdict => (verdict.into(), None),
            },
        };
        allowed(Action::Confirm, &message, &evidence)?;
        self.decide(Action::Confirm, &message, payload, reason, evidence).await
    }

    /// Removes a parked message: its business action took no effect, and never will. A fenced
    /// message's fence is closed with it, so that this is certain.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not parked, or its fence says that it took effect or
    /// gives no answer; [`ErrorKind::Unavailable`].
    pub async fn cancel(self, id: MessageId, reason: &str) -> Result<(), Error> {
        let message = self.known(id).await?;
        // Nothing is closed for a message that can't be cancelled.
        allowed(Action::Cancel, &message, &Evidence::NoFence)?;
        let evidence = match self.fence_of(&message)? {
            None => Evidence::NoFence,
            Some((fence, identity)) => fence.ask(identity, &[message.call_id]).await.pop().into(),
        };
        allowed(Action::Cancel, &message, &evidence)?;
        self.decide(Action::Cancel, &message, None, reason, evidence).await
    }

    /// Tries again now: delivers a dead message, or one that waits for its next attempt; asks
    /// about a half message that waits for its next question. The reason is kept in the audit, and with the message when a dead
    /// one is revived. A message with a delay is delivered without waiting for its end, a dead one however late it is.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is nothing to try; [`ErrorKind::Unavailable`].
    pub async fn retry(self, id: MessageId, reason: &str) -> Result<(), Error> {
        let message = self.known(id).await?;
        allowed(Action::Retry, &message, &Evidence::NoFence)?;
        self.decide(Action::Retry, &message, None, reason, Evidence::NoFence).await
    }

    async fn decide(
        self,
        action: Action,
        message: &MessageInfo,
        payload: Option<Vec<u8>>,
        reason: &str,
        evidence: Evidence,
    ) -> Result<(), Error> {
        let id = message.id;
        let entry = self.entry(reason, &evidence);
        let via = entry.actor.via.clone();
        let decision = Decision { id, action, payload, entry };
        let applied = self.store().decide_legibly(decision).await;
        match applied.map_err(|cause| cause.into_error("the message could not be decided"))? {
            Applied::Moved => {
                DECISIONS.pick(&via, decided(action)).increment(1);
                Ok(())
            }
            Applied::Already if message.state == MessageState::Dead => {
                Err(refused(format!("message {id} was retried by somebody else just now")))
            }
            Applied::Already => Err(refused(format!("message {id} was decided so before"))),
            Applied::Conflict(state) => {
                Err(refused(format!("message {id} is {state} by now, or is being worked on")))
            }
            Applied::Missing => Err(refused(format!("there is no message {id}"))),
        }
    }
}

/// Errs, and counts it, where a fence contradicts a person.
fn allowed(action: Action, message: &MessageInfo, evidence: &Evidence) -> Result<(), Error> {
    may(action, message.state, message.held_by.is_some(), evidence).map_err(|why| {
        if !matches!(evidence, Evidence::NoFence | Evidence::NoRow | Evidence::Unknown(_)) {
            OVERRULED.at(Overruler::Fence).increment(1);
        }
        refused(format!("message {} {why}", message.id))
    })
}

const fn decided(action: Action) -> Decided {
    match action {
        Action::Confirm => Decided::Confirm,
        Action::Cancel => Decided::Cancel,
        // Only what moves a row is decided.
        Action::Retry | Action::View | Action::Pause | Action::Resume | Action::Redrive | Action::Discard => {
            Decided::Retry
        }
    }
}
