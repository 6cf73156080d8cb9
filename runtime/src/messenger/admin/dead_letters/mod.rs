//! RabbitMQ's dead letters, for operators: look at them, send them to their consumers again, or remove them.

mod discard;
mod redrive;
mod values;

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::{Admin, refused};
use crate::broker::rabbitmq::{DeadLetterHand, Letter, Queues, RabbitMq};
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::message::MessageId;
use crate::store::{Action, Contents, Decision, Entry};

pub use values::{DeadLetter, Discard, DiscardSummary, Redrive, RedrivePreview, RedriveSummary, Redriven};

/// So many are taken at once, at most, before they go back: only what is to be known of them is kept in memory, but the
/// broker has to keep count of each.
const MOST_IN_HAND: usize = 10_000;
/// RabbitMQ takes back what was held for half an hour.
const LONGEST_IN_HAND: Duration = Duration::from_mins(25);
/// A consumer's [`inbox_retention`](crate::Consumer::inbox_retention), if nobody has announced another.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// RabbitMQ's dead letters: what a consumer could not handle, and RabbitMQ keeps in the queue `<queue>.dead`. See
/// [`Admin::dead_letters`]. All methods take the name of the consumer's queue, without `.dead`.
///
/// AMQP has no way to look at a message but to take it and give it back. While that lasts, a second one who looks sees what
/// comes after; and what comes back goes behind what came back before. So as long as no more than 1000 are left behind those that are
/// looked at, these are taken, too, and everything keeps its order. A quorum queue counts each time, and one with a small
/// delivery limit drops what was looked at so often: see [`Admin::examine_rabbitmq`]. There, nothing is taken; and where this
/// user can't see the limit, nothing more once one was met that was handed out ten times
/// ([`at_any_cost`](DeadLetters::at_any_cost) takes all).
#[derive(Debug)]
pub struct DeadLetters<'m> {
    admin: Admin<'m>,
    hand: DeadLetterHand,
    /// Looks also where that costs messages.
    at_any_cost: bool,
}

impl<'m> Admin<'m> {
    /// Connects to a broker, to see to the dead letters there. Needs the right `read` on `<queue>.dead`, and to send them
    /// again `write` on the default exchange; none to configure, and no management plugin.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a wrong URL; [`ErrorKind::Unavailable`].
    pub async fn dead_letters(self, rabbitmq: impl Into<RabbitMq>) -> Result<DeadLetters<'m>, Error> {
        let hand = rabbitmq.into().dead_letters().await?;
        Ok(DeadLetters { admin: self, hand, at_any_cost: false })
    }

    /// How long the consumer of a queue remembers a message, as its processes have announced it within a day: the shortest.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn remembered_by(self, queue: &str) -> Result<Option<Duration>, Error> {
        let processes = self.processes().await?;
        let seconds = processes.iter().filter_map(|process| process.remembers.get(queue)).min();
        Ok(seconds.map(|seconds| Duration::from_secs(*seconds)))
    }

    /// The queues of the consumers that have announced themselves within a day, and get their messages from RabbitMQ.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn consumed_queues(self) -> Result<BTreeSet<String>, Error> {
        let processes = self.processes().await?;
        // Older versions don't say by what.
        let by_rabbitmq =
            processes.into_iter().filter(|one| matches!(one.transport.as_str(), "rabbitmq" | ""));
        Ok(by_rabbitmq.flat_map(|process| process.consumers).collect())
    }
}

impl DeadLetters<'_> {
    /// Takes messages in hand also where the queue may drop what was in hand too often: for queues that were declared without a
    /// delivery limit, to which a policy gives a large one, which AMQP does not show. No policy raises a small one of the
    /// queue's own: there, dead letters are lost.
    #[must_use]
    pub const fn at_any_cost(mut self) -> Self {
        self.at_any_cost = true;
        self
    }

    /// How many dead letters nobody works on; none if there is no queue for them.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for a missing right; [`ErrorKind::Unavailable`].
    pub async fn depth(&mut self, queue: &str) -> Result<Option<u32>, Error> {
        self.hand.depth(&Queues::named(queue)?).await
    }

    /// The first dead letters, the oldest first, at most `limit` and at most 10 000. They stay where they are.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such queue, for a missing right, and where looking would cost messages, or may soon, unless
    /// [`at_any_cost`](Self::at_any_cost); [`ErrorKind::Unavailable`].
    pub async fn look(&mut self, queue: &str, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        let queues = Queues::named(queue)?;
        self.depth_to_take(&queues, queue).await?;
        let looking = async {
            let mut seen = Vec::new();
            while seen.len() < (limit as usize).min(MOST_IN_HAND) {
                match self.hand.take(&queues).await? {
                    Some(letter) => seen.push(DeadLetter::of(queue, &letter)),
                    None => break,
                }
            }
            Ok(seen)
        };
        let seen = looking.await;
        self.given_back(&queues, seen).await
    }

    /// The headers and the payload of the first dead letter with this id, if it is among the first `limit`. They may be
    /// private: that somebody looked at them, and why, is kept in the audit.
    ///
    /// # Errors
    /// As of [`look`](Self::look), and [`ErrorKind::Unavailable`] when the record can't be kept: then nothing is shown.
    pub async fn contents(
        &mut self,
        queue: &str,
        id: &str,
        limit: u32,
        reason: &str,
    ) -> Result<Option<Contents>, Error> {
        let queues = Queues::named(queue)?;
        self.depth_to_take(&queues, queue).await?;
        let looking = async {
            for _ in 0..(limit as usize).min(MOST_IN_HAND) {
                let Some(letter) = self.hand.take(&queues).await? else { break };
                if letter.message_id().as_deref() == Some(id) {
                    return Ok(Some(letter));
                }
            }
            Ok(None)
        };
        let found = looking.await;
        let Some(letter) = self.given_back(&queues, found).await? else { return Ok(None) };
        self.record(Action::View, queue, &letter, reason).await?;
        let message = letter.message();
        Ok(Some(Contents { headers: message.headers, payload: message.payload }))
    }

    /// Ends the connection. Without this, it ends a little later.
    pub async fn close(self) {
        self.hand.close().await;
    }

    /// Gives back what is in hand, whatever came of it.
    async fn given_back<T>(&mut self, queues: &Queues, came: Result<T, Error>) -> Result<T, Error> {
        let given = self.hand.turn(queues).await;
        let came = came?;
        given.map(|()| came)
    }

    /// How many there are, where they may be taken in hand.
    async fn depth_to_take(&mut self, queues: &Queues, queue: &str) -> Result<u32, Error> {
        let Some(depth) = self.hand.depth(queues).await? else {
            let why = format!("there is no queue `{queue}.dead`: no consumer of `{queue}` has declared it");
            return Err(refused(why));
        };
        let cost = if self.at_any_cost { None } else { self.hand.looking_drops(queues).await? };
        cost.map_or(Ok(depth), |why| Err(refused(why)))
    }

    /// Keeps a record of what is done with a letter.
    async fn record(&self, action: Action, queue: &str, letter: &Letter, reason: &str) -> Result<(), Error> {
        let called = letter.message_id().map_or_else(|| "without an id".to_owned(), |id| format!("`{id}`"));
        let evidence = format!("dead letter {called} of the queue `{queue}`: {}", letter.reason());
        let entry = Entry::new(self.admin.actor(), reason, Some(evidence));
        let decision = Decision { id: audited(letter), action, payload: None, entry };
        let kept = self.admin.store().record_legibly(decision).await;
        kept.map_err(|cause| cause.into_error("the record for the audit could not be kept"))
    }
}

/// Under which id a record is kept: a foreign one by the UUID that a consumer knows it by which is identified by it.
fn audited(letter: &Letter) -> MessageId {
    letter.id().unwrap_or_else(|| {
        let called = letter.message_id();
        let foreign = called.map(|id| Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()));
        MessageId::from(foreign.unwrap_or_default())
    })
}
