//! What an operator can do about messages: list, confirm, cancel, retry. The reason is kept.

use std::sync::Arc;

use super::handle::Messenger;
use crate::call::calls::Calls;
use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::fence::verdict::Verdict;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, CallId, FenceId, MessageId};
use crate::store::{MessageInfo, Store, StoreError, Transition};
use crate::telemetry::catalogue::OVERRULED;
use crate::telemetry::labels::Overruler;

/// What an operator can do about messages. See [`Messenger::admin`].
#[derive(Clone, Copy, Debug)]
pub struct Admin<'m> {
    messenger: &'m Messenger,
}

impl Messenger {
    /// What an operator can do about messages: list, confirm, cancel, retry.
    pub const fn admin(&self) -> Admin<'_> {
        Admin { messenger: self }
    }
}

impl<'m> Admin<'m> {
    fn calls(self) -> &'m Calls {
        &self.messenger.calls
    }

    fn store(self) -> &'m dyn Store {
        self.calls().held.store().as_ref()
    }

    /// The newest messages in `state`, at most `limit`; `before` continues below an id.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn list(
        self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, Error> {
        let messages = self.store().list(state, before, limit).await;
        messages.map_err(|cause| cause.into_error("the messages could not be listed"))
    }

    /// One message, if the store knows it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn find(self, id: MessageId) -> Result<Option<MessageInfo>, Error> {
        let row = self.store().find(id).await;
        row.map_err(|cause| cause.into_error("the message could not be read"))
    }

    /// Delivers a parked message: its business action took effect. A fenced message's fence is read
    /// first, and must say so, too; when the function forgot `begin`, only the operator's word counts.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not parked, or its fence says that it did not take
    /// effect or gives no answer; [`ErrorKind::Unavailable`].
    pub async fn confirm(self, id: MessageId, reason: &str) -> Result<(), Error> {
        let amended = match self.fence_of_parked(id).await? {
            None => None,
            Some((fence, identity, call_id)) => match fence.read(identity, call_id).await {
                Some(Verdict::Committed { amended }) => amended,
                Some(verdict) => return Err(contradicts(id, "confirmed", &verdict)),
                None => {
                    OVERRULED.at(Overruler::Fence).increment(1);
                    return Err(refused(format!(
                        "message {id} can't be confirmed: its fence has no row, so no transaction of it has committed"
                    )));
                }
            },
        };
        let failed = |cause: StoreError| cause.into_error("the message could not be confirmed");
        self.store().forget_expiry(id).await.map_err(failed)?;
        let transition = Transition::of(id).amended(amended).because(format!("confirmed by hand: {reason}"));
        self.decide(Event::OperatorConfirms, transition).await
    }

    /// Removes a parked message: its business action took no effect, and never will. A fenced
    /// message's fence is closed with it, so that this is certain.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not parked, or its fence says that it took effect or
    /// gives no answer; [`ErrorKind::Unavailable`].
    pub async fn cancel(self, id: MessageId, reason: &str) -> Result<(), Error> {
        if let Some((fence, identity, call_id)) = self.fence_of_parked(id).await? {
            match fence.ask(identity, &[call_id]).await.pop() {
                Some(verdict) if !verdict.allows(Event::OperatorCancels) => {
                    return Err(contradicts(id, "cancelled", &verdict));
                }
                Some(_) | None => {}
            }
        }
        self.decide(
            Event::OperatorCancels,
            Transition::of(id).because(format!("cancelled by hand: {reason}")),
        )
        .await
    }

    /// Tries again now: delivers a dead message, or one that waits for its next attempt; asks
    /// about a half message that waits for its next question. The reason is kept when a dead message
    /// is revived. A message with a delay is delivered without waiting for its end, a dead one however late it is.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is nothing to try; [`ErrorKind::Unavailable`].
    pub async fn retry(self, id: MessageId, reason: &str) -> Result<(), Error> {
        let failed = |cause: StoreError| cause.into_error("the message could not be retried");
        if self.known(id).await?.state == MessageState::Dead {
            self.store().forget_expiry(id).await.map_err(failed)?;
            return self
                .decide(Event::Revive, Transition::of(id).because(format!("retried by hand: {reason}")))
                .await;
        }
        if self.store().make_due(id).await.map_err(failed)? {
            return Ok(());
        }
        let row = self.known(id).await?;
        Err(refused(format!(
            "message {id} is {}: there is nothing to try again, or it is being worked on",
            row.state
        )))
    }

    /// The fence that answers for a parked message; none for a message with a handler.
    async fn fence_of_parked(
        self,
        id: MessageId,
    ) -> Result<Option<(&'m Arc<dyn FenceDatabase>, FenceId, CallId)>, Error> {
        let message = self.known(id).await?;
        if message.state != MessageState::Parked {
            return Err(refused(format!(
                "message {id} is {}: only a parked message can be decided by hand",
                message.state
            )));
        }
        let Ok(AnsweredBy::Fence(identity)) = message.answered_by.parse() else { return Ok(None) };
        let Some(fence) = self.calls().fences.by_identity(identity) else {
            return Err(refused(format!(
                "message {id} is fenced in a database that this messenger does not have: do it where that fence is"
            )));
        };
        Ok(Some((fence, identity, message.call_id)))
    }

    async fn known(self, id: MessageId) -> Result<MessageInfo, Error> {
        let row = self.store().find(id).await;
        let row = row.map_err(|cause| cause.into_error("the message could not be read"))?;
        row.ok_or_else(|| refused(format!("there is no message {id}")))
    }

    async fn decide(self, event: Event, transition: Transition) -> Result<(), Error> {
        let id = transition.id;
        let applied = self.store().transition(event, &[transition], None).await;
        match applied.map_err(|cause| cause.into_error("the message could not be decided"))?.first() {
            Some(Applied::Moved) => Ok(()),
            Some(Applied::Already) => Err(refused(format!("message {id} was decided so before"))),
            Some(Applied::Conflict(state)) => Err(refused(format!("message {id} is {state} by now"))),
            Some(Applied::Missing) | None => Err(refused(format!("there is no message {id}"))),
        }
    }
}

fn contradicts(id: MessageId, wanted: &str, verdict: &Verdict) -> Error {
    if !matches!(verdict, Verdict::Unknown(_)) {
        OVERRULED.at(Overruler::Fence).increment(1);
    }
    let why = match verdict {
        Verdict::Committed { .. } => "its fence says that the business action took effect".to_owned(),
        Verdict::Closed => "its fence says that the business action took no effect".to_owned(),
        Verdict::Withheld => "its fence says that there is nothing to send".to_owned(),
        Verdict::Unknown(why) => format!("its fence gives no answer ({why})"),
    };
    refused(format!("message {id} can't be {wanted}: {why}"))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Refused, message)
}
