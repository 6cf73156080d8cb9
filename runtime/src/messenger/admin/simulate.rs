//! What would happen: what a check-back would be answered now, and what a person's decisions would do.

use std::sync::Arc;

use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use super::Admin;
use crate::check_back::Asked;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::message::schedule::Schedule;
use crate::message::{AnsweredBy, Evidence, Half, Message, MessageId, Outcome};
use crate::rules::by_hand::may;
use crate::store::{Action, ClaimedRow, Contents, MessageInfo, StoreError};

/// What would happen to a message now. Nothing was changed to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Simulation {
    /// The message.
    pub message: MessageInfo,
    /// What its fence says.
    pub evidence: Evidence,
    /// What a check-back would be answered.
    pub answer: Answered,
    /// What [`Admin::confirm`], [`Admin::cancel`] and [`Admin::retry`] would do: nothing for what they would do as asked,
    /// or why they would refuse.
    pub refusals: [(Action, Option<String>); 3],
}

/// What a check-back would be answered now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answered {
    /// This.
    With(Outcome),
    /// Nothing clear, and why: it would be asked again later.
    Unclear(String),
    /// Nobody was asked, and why.
    NotAsked(String),
}

impl Admin<'_> {
    /// What would happen to a message now: what a check-back would be answered, and whether a person may decide.
    ///
    /// A fence is read without a lock, and nothing is written. A handler of this process is called as a check-back
    /// would call it, and its answer is not applied; a handler of another process can't be asked from here.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such message; [`ErrorKind::Unavailable`].
    pub async fn simulate(self, id: MessageId) -> Result<Simulation, Error> {
        let message = self.known(id).await?;
        let evidence = match self.evidence_of(&message).await {
            Ok(evidence) => evidence,
            Err(elsewhere) => Evidence::Unknown(elsewhere.to_string()),
        };
        let answer = match &message.answerer {
            Some(AnsweredBy::Fence(_)) => of_fence(&evidence),
            Some(AnsweredBy::Handler { name, .. }) => self.ask_handler(&message, name).await?,
            _ => Answered::NotAsked("nobody can answer for it: its function never called `begin`".into()),
        };
        let held = message.held_by.is_some();
        let refusals = [Action::Confirm, Action::Cancel, Action::Retry]
            .map(|action| (action, may(action, message.state, held, &evidence).err()));
        Ok(Simulation { message, evidence, answer, refusals })
    }

    async fn ask_handler(self, message: &MessageInfo, name: &str) -> Result<Answered, Error> {
        let Some(handler) = self.calls().handlers.get(name).cloned() else {
            return Ok(Answered::NotAsked(format!(
                "this process does not have the handler `{name}`: ask where it runs"
            )));
        };
        let failed = |cause: StoreError| cause.into_error("the message could not be read");
        let contents = self.store().contents(message.id).await.map_err(failed)?;
        let Some(contents) = contents else {
            return Ok(Answered::NotAsked("it was deleted in the meantime".into()));
        };
        let question =
            Asked { row: Arc::new(claimed(message, contents)), data: self.calls().handlers.data.clone() };
        // In a task of its own, as a check-back asks: a panic is an answer like any other.
        let asking = AbortOnDropHandle::new(tokio::spawn(async move { (handler.ask)(question).await }));
        let patience = self.calls().settings.handler_timeout;
        Ok(match tokio::time::timeout(patience, asking).await {
            Ok(Ok(Ok(Outcome::Unknown))) => {
                Answered::Unclear(format!("the handler `{name}` answered Unknown"))
            }
            Ok(Ok(Ok(outcome))) => Answered::With(outcome),
            Ok(Ok(Err(why))) => Answered::Unclear(format!("the handler `{name}` failed: {why}")),
            Ok(Err(_)) => Answered::Unclear(format!("the handler `{name}` panicked")),
            Err(_) => Answered::Unclear(format!("the handler `{name}` did not answer within {patience:?}")),
        })
    }
}

fn of_fence(evidence: &Evidence) -> Answered {
    match evidence {
        Evidence::Committed { .. } => Answered::With(Outcome::Confirm),
        Evidence::Withheld | Evidence::Closed => Answered::With(Outcome::Cancel),
        Evidence::NoRow => Answered::Unclear(
            "the fence has no row: it would be closed, and the message cancelled, unless the business transaction is \
             open still"
                .into(),
        ),
        Evidence::Unknown(why) => Answered::Unclear(why.clone()),
        Evidence::NoFence => Answered::NotAsked("no fence answers for it".into()),
    }
}

/// The message as a check-back would have claimed it.
fn claimed(message: &MessageInfo, contents: Contents) -> ClaimedRow {
    let half = Half {
        id: message.id,
        call_id: message.call_id,
        service: message.service.clone(),
        package: None,
        function: message.function.clone(),
        answered_by: message.answerer.clone().unwrap_or(AnsweredBy::Nobody),
        check_after: message.check_after,
        expires: None,
        message: Message {
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            message_type: message.message_type.clone(),
            content_type: message.content_type.clone(),
            business_key: message.business_key.clone(),
            headers: contents.headers,
            priority: None,
            schedule: Schedule::default(),
            payload: contents.payload,
        },
    };
    ClaimedRow { half: Arc::new(half), attempts: message.attempts, age: message.age, taken_over: None }
}
