//! What an operator can do about messages: look at them, decide, and see who decided.

#[cfg(feature = "rabbitmq")]
mod dead_letters;
mod decide;
mod examine;
#[cfg(feature = "rabbitmq")]
mod examine_rabbitmq;
mod look;
mod operations;
mod pause;
mod prune;
mod simulate;

use std::sync::Arc;

use uuid::Uuid;

use crate::call::calls::Shared;
use crate::error::{Error, ErrorKind};
use crate::fence::FenceDatabase;
use crate::message::{AnsweredBy, Evidence, FenceId, MessageId};
use crate::store::{Actor, Entry, MessageInfo, Store};

#[cfg(feature = "rabbitmq")]
pub use dead_letters::{
    DeadLetter, DeadLetters, Discard, DiscardSummary, Redrive, RedrivePreview, RedriveSummary, Redriven,
};
pub use examine::Finding;
pub use prune::PrunedRows;
pub use simulate::{Answered, Simulation};

/// A business database, and its identity.
type Fence<'m> = (&'m Arc<dyn FenceDatabase>, FenceId);

/// What an operator can do about messages. See [`Messenger::admin`](crate::Messenger::admin).
#[derive(Clone, Copy, Debug)]
pub struct Admin<'m> {
    calls: &'m Shared,
    actor: Option<&'m Actor>,
    part: Option<Part>,
}

/// A decision that is part of an operation, and the id that its record is to have.
#[derive(Clone, Copy, Debug)]
struct Part {
    operation: Uuid,
    record: Uuid,
}

impl<'m> Admin<'m> {
    pub(super) const fn of(calls: &'m Shared) -> Self {
        Self { calls, actor: None, part: None }
    }

    /// Decides in somebody's name, which is kept with each decision. Otherwise the service's own name is.
    #[must_use]
    pub const fn by(self, actor: &'m Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    const fn calls(self) -> &'m Shared {
        self.calls
    }

    fn store(self) -> &'m dyn Store {
        self.calls().held.store().as_ref()
    }

    async fn known(self, id: MessageId) -> Result<MessageInfo, Error> {
        let row = self.store().find(id).await;
        let row = row.map_err(|cause| cause.into_error("the message could not be read"))?;
        row.ok_or_else(|| refused(format!("there is no message {id}")))
    }

    /// The fence that answers for a message; none for a message with a handler.
    fn fence_of(self, message: &MessageInfo) -> Result<Option<Fence<'m>>, Error> {
        let Some(AnsweredBy::Fence(identity)) = message.answerer else { return Ok(None) };
        match self.calls().fences.by_identity(identity) {
            Some(fence) => Ok(Some((fence, identity))),
            None => Err(refused(format!(
                "message {} is fenced in a database that this messenger does not have: do it where that fence is",
                message.id
            ))),
        }
    }

    fn entry(self, reason: &str, evidence: &Evidence) -> Entry {
        let evidence = (*evidence != Evidence::NoFence).then(|| evidence.to_string());
        let entry = Entry::new(self.actor(), reason, evidence);
        match self.part {
            None => entry,
            Some(Part { operation, record }) => {
                Entry { id: record, ..entry.about(format!("operation:{operation}")) }
            }
        }
    }

    fn actor(self) -> Actor {
        self.actor.cloned().unwrap_or_else(|| Actor::new(self.calls().services.own(), "code"))
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Refused, message)
}
