//! What a person can do about messages: list, confirm, cancel, retry. The reason is kept.

use std::time::Duration;

use super::Messenger;
use crate::error::{Error, ErrorKind};
use crate::fence::verdict::Verdict;
use crate::message::state::{Applied, Event, State};
use crate::message::{AnsweredBy, MessageId};
use crate::store::{Change, Stored};

/// A message as a person sees it. The payload is left out: it may be private.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageInfo {
    /// The message's id.
    pub id: MessageId,
    /// The id of the call that it belongs to.
    pub call_id: MessageId,
    /// Where it stands.
    pub state: State,
    /// The annotated function.
    pub function: String,
    /// Who can tell the outcome: `fence:<identity>` or `handler:<name>`.
    pub answered_by: String,
    /// Where it is to be sent.
    pub exchange: String,
    /// Where it is to be sent.
    pub routing_key: String,
    /// The business key.
    pub key: Option<String>,
    /// Questions asked while half, deliveries tried since.
    pub attempts: u32,
    /// How long ago it was stored, by the store's clock.
    pub age: Duration,
    /// The last failure, or an operator's word.
    pub reason: Option<String>,
}

impl From<Stored> for MessageInfo {
    fn from(row: Stored) -> Self {
        Self {
            id: row.half.id,
            call_id: row.half.call_id,
            state: row.state,
            function: row.half.function,
            answered_by: row.half.answered_by.to_string(),
            exchange: row.half.message.exchange,
            routing_key: row.half.message.routing_key,
            key: row.half.message.key,
            attempts: row.attempts,
            age: row.age,
            reason: row.reason,
        }
    }
}

impl Messenger {
    /// The newest messages in `state`, at most `limit`; `before` continues below an id.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn list(
        &self,
        state: State,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, Error> {
        let rows = self.core().store.list(state, before, limit).await;
        let rows = rows.map_err(|cause| cause.into_error("the messages could not be listed"))?;
        Ok(rows.into_iter().map(MessageInfo::from).collect())
    }

    /// One message, if the store knows it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, Error> {
        let row = self.core().store.find(id).await;
        Ok(row.map_err(|cause| cause.into_error("the message could not be read"))?.map(MessageInfo::from))
    }

    /// Delivers a parked message: its business action took effect. A fenced message's fence is
    /// asked first, and must not say otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not parked, or its fence says that it did not take
    /// effect or gives no answer; [`ErrorKind::Unavailable`].
    pub async fn confirm(&self, id: MessageId, reason: &str) -> Result<(), Error> {
        let amended = match self.ask_fence_of(id).await? {
            None => None,
            Some(Verdict::Committed { amended }) => amended,
            Some(verdict) => return Err(contradicts(id, "confirmed", &verdict)),
        };
        let change = Change::of(id).amended(amended).because(format!("confirmed by hand: {reason}"));
        self.decide(Event::OperatorConfirms, change).await
    }

    /// Removes a parked message: its business action took no effect, and never will. A fenced
    /// message's fence is closed with it, so that this is certain.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is not parked, or its fence says that it took effect or
    /// gives no answer; [`ErrorKind::Unavailable`].
    pub async fn cancel(&self, id: MessageId, reason: &str) -> Result<(), Error> {
        match self.ask_fence_of(id).await? {
            None | Some(Verdict::Closed | Verdict::Withheld) => {}
            Some(verdict) => return Err(contradicts(id, "cancelled", &verdict)),
        }
        self.decide(Event::OperatorCancels, Change::of(id).because(format!("cancelled by hand: {reason}")))
            .await
    }

    /// Tries again now: delivers a dead message, or one that waits for its next attempt; asks
    /// about a half message that waits for its next question.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is nothing to try; [`ErrorKind::Unavailable`].
    pub async fn retry(&self, id: MessageId, reason: &str) -> Result<(), Error> {
        let failed = |cause: crate::store::StoreError| cause.into_error("the message could not be retried");
        if self.parked_or_waiting(id).await?.state == State::Dead {
            return self
                .decide(Event::Revive, Change::of(id).because(format!("retried by hand: {reason}")))
                .await;
        }
        if self.core().store.hasten(id).await.map_err(failed)? {
            return Ok(());
        }
        let row = self.parked_or_waiting(id).await?;
        Err(refused(format!(
            "message {id} is {}: there is nothing to try again, or it is being worked on",
            row.state
        )))
    }

    /// The verdict of the message's fence; none for a message with a handler.
    async fn ask_fence_of(&self, id: MessageId) -> Result<Option<Verdict>, Error> {
        let row = self.parked_or_waiting(id).await?;
        if row.state != State::Parked {
            return Err(refused(format!(
                "message {id} is {}: only a parked message can be decided by hand",
                row.state
            )));
        }
        let AnsweredBy::Fence(identity) = row.half.answered_by else { return Ok(None) };
        let Some(fence) = self.core().fences.by_identity(identity) else {
            return Err(refused(format!(
                "message {id} is fenced in a database that this messenger does not have: do it where that fence is"
            )));
        };
        Ok(fence.ask(identity, &[row.half.call_id]).await.pop())
    }

    async fn parked_or_waiting(&self, id: MessageId) -> Result<Stored, Error> {
        let row = self.core().store.find(id).await;
        let row = row.map_err(|cause| cause.into_error("the message could not be read"))?;
        row.ok_or_else(|| refused(format!("there is no message {id}")))
    }

    async fn decide(&self, event: Event, change: Change) -> Result<(), Error> {
        let id = change.id;
        let applied = self.core().store.transition(event, &[change], None).await;
        match applied.map_err(|cause| cause.into_error("the message could not be decided"))?.first() {
            Some(Applied::Moved) => Ok(()),
            Some(Applied::Already) => Err(refused(format!("message {id} was decided so before"))),
            Some(Applied::Conflict(state)) => Err(refused(format!("message {id} is {state} by now"))),
            Some(Applied::Missing) | None => Err(refused(format!("there is no message {id}"))),
        }
    }
}

fn contradicts(id: MessageId, wanted: &str, verdict: &Verdict) -> Error {
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
