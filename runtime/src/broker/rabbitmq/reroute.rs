//! The way out of a consumer's queue: to wait for another attempt, or to the dead letters.
//!
//! A message is first safe in the other queue, by a publisher confirm, and only then acknowledged in
//! this one. If the process dies in between, it is in both; the inbox recognises it.

use std::time::{Duration, SystemTime};

use lapin::types::{AMQPValue, ShortString};
use tokio_util::sync::CancellationToken;

use super::connection::ConnectError;
use super::dead_letters::DeadLetters;
use super::incoming::Incoming;
use super::properties::{ATTEMPT, AmqpMessage, QUEUE, REASON, UNDECODABLE_SINCE, WAIT, room_for_headers};
use super::publisher::Publisher;
use super::topology::Queues;
use crate::Backoff;
use crate::telemetry::catalogue::{CONSUMER_DEAD, CONSUMER_RETRIES};
use crate::telemetry::labels::Buried;
use crate::transport::PublishResult;

/// How long a message that can't be tried is held. RabbitMQ ends the subscription that keeps one for half an hour.
pub(super) const HOLD: Duration = Duration::from_mins(5);
const PAUSES: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
/// The longest reason that goes into a header.
const REASON_BYTES: usize = 1024;

/// Puts messages into the other queues of a consumer.
pub(super) struct Rerouter<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) queues: &'a Queues,
    pub(super) dead_letters: &'a DeadLetters,
    pub(super) stop: &'a CancellationToken,
}

impl Rerouter<'_> {
    /// Lets a message wait for its next attempt. Here and below: says whether the message is safe,
    /// and to be acknowledged; `Err` ends the session.
    pub(super) async fn retry(&self, incoming: &Incoming, why: &str) -> Result<bool, ConnectError> {
        let (queue, pause) = self.queues.after_attempt(incoming.attempt);
        self.tell_of_failure(incoming, why, *pause);
        self.send(incoming, queue, &[(ATTEMPT, number(incoming.attempt.saturating_add(1)))]).await
    }

    /// Lets a message wait for its next attempt, as its handler has asked for.
    pub(super) async fn retry_after(
        &self,
        incoming: &Incoming,
        why: &str,
        pause: Duration,
    ) -> Result<bool, ConnectError> {
        let pause = pause.min(self.queues.longest_wait());
        self.tell_of_failure(incoming, why, pause);
        self.wait(incoming, incoming.attempt.saturating_add(1), pause).await
    }

    fn tell_of_failure(&self, incoming: &Incoming, why: &str, pause: Duration) {
        let (id, attempt) = (shown(incoming), incoming.attempt);
        CONSUMER_RETRIES.one(self.queues.main.as_str()).increment(1);
        tracing::warn!(queue = %self.queues.main, id, attempt, why, retry_in = ?pause, "a message was not handled");
    }

    /// Lets a message wait on whose time has not come. `None`: it has come.
    pub(super) async fn wait_on(&self, incoming: &Incoming) -> Result<Option<bool>, ConnectError> {
        match incoming.wait.map(|wait| wait.min(self.queues.longest_wait())) {
            None | Some(Duration::ZERO) => Ok(None),
            Some(wait) => self.wait(incoming, incoming.attempt, wait).await.map(Some),
        }
    }

    async fn wait(&self, incoming: &Incoming, attempt: u32, time: Duration) -> Result<bool, ConnectError> {
        let (queue, pause) = self.queues.waiting_at_most(time);
        let rest = i64::try_from(time.saturating_sub(*pause).as_millis()).unwrap_or_default();
        let notes = [(ATTEMPT, number(attempt)), (WAIT, AMQPValue::LongLongInt(rest))];
        self.send(incoming, queue, &notes).await
    }

    /// Lets a message wait that could not be tried, and does not count it.
    pub(super) async fn put_off(&self, incoming: &Incoming, why: &str) -> Result<bool, ConnectError> {
        let (queue, pause) = self.queues.after_attempt(u32::MAX);
        let (id, attempt) = (shown(incoming), incoming.attempt);
        tracing::warn!(queue = %self.queues.main, id, attempt, why, retry_in = ?pause, "a message could not be tried");
        self.send(incoming, queue, &[(ATTEMPT, number(attempt))]).await
    }

    /// Lets a message wait that this process can't read: in a rolling deployment another one can. It is dead when nobody
    /// could for so long.
    pub(super) async fn wait_for_a_reader(
        &self,
        incoming: &Incoming,
        why: &str,
        patience: Duration,
    ) -> Result<bool, ConnectError> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let since = incoming.undecodable_since.map_or(now, Duration::from_millis).min(now);
        let waited = now.saturating_sub(since);
        if waited >= patience {
            let for_so_long =
                if patience.is_zero() { String::new() } else { format!("; nobody could for {patience:?}") };
            return self.bury(incoming, Buried::Undecodable, &format!("{why}{for_so_long}")).await;
        }
        // The pause does not more than double what it has waited already.
        let (queue, pause) = self.queues.waiting_at_most(waited);
        let (id, attempt) = (shown(incoming), incoming.attempt);
        if incoming.undecodable_since.is_none() {
            tracing::warn!(queue = %self.queues.main, id, attempt, why, ?patience,
                "this process can't read a message; it waits for one that can, and is dead if there is none");
        } else {
            tracing::debug!(queue = %self.queues.main, id, why, retry_in = ?pause, "still nobody can read a message");
        }
        let since = i64::try_from(since.as_millis()).unwrap_or_default();
        let notes = [(ATTEMPT, number(attempt)), (UNDECODABLE_SINCE, AMQPValue::LongLongInt(since))];
        self.send(incoming, queue, &notes).await
    }

    /// Puts a message to the dead letters.
    pub(super) async fn bury(
        &self,
        incoming: &Incoming,
        reason: Buried,
        why: &str,
    ) -> Result<bool, ConnectError> {
        let (id, attempt) = (shown(incoming), incoming.attempt);
        tracing::error!(queue = %self.queues.main, dead_letters = %self.queues.dead, id, attempt, why,
            "a message can't be handled and waits for an operator");
        let text = |text: &str| AMQPValue::LongString(text.into());
        let notes = [
            (REASON, text(bounded(why))),
            (QUEUE, text(self.queues.main.as_str())),
            (ATTEMPT, number(attempt)),
        ];
        self.dead_letters.bury();
        let sent = self.send(incoming, &self.queues.dead, &notes).await;
        if matches!(sent, Ok(true)) {
            CONSUMER_DEAD.pick(self.queues.main.as_str(), reason).increment(1);
        }
        sent
    }

    /// Publishes a message to another queue, however long it takes.
    async fn send(
        &self,
        incoming: &Incoming,
        queue: &ShortString,
        notes: &[(&'static str, AMQPValue)],
    ) -> Result<bool, ConnectError> {
        let mut tries = 0;
        loop {
            let amqp_message: AmqpMessage =
                incoming.rerouted(queue, room_for_headers(self.publisher.frame_bytes()), notes);
            match self.publisher.publish(amqp_message).await {
                PublishResult::Acknowledged => return Ok(true),
                // Deleted: a new session declares it again.
                PublishResult::Unroutable(_) => {
                    return Err(ConnectError::permanent(format!("the queue `{queue}` does not exist")));
                }
                PublishResult::Failed(_, why)
                | PublishResult::FailedFor(_, why)
                | PublishResult::NotNow(why)
                | PublishResult::Paused(_, why)
                | PublishResult::NotHere(why)
                | PublishResult::Refused(_, why) => {
                    tracing::debug!(%queue, why, "a message could not be moved; will try again");
                }
            }
            if !self.pause(tries).await {
                return Ok(false);
            }
            tries += 1;
        }
    }

    /// Waits, the longer the more often. `false`: the consumer stops, and the message stays.
    pub(super) async fn pause(&self, tries: u32) -> bool {
        tokio::select! {
            () = tokio::time::sleep(PAUSES.delay(tries)) => true,
            () = self.stop.cancelled() => false,
        }
    }
}

/// For the log: the id, if there is one.
fn shown(incoming: &Incoming) -> String {
    incoming.id.as_ref().map_or_else(|_| "none".into(), ToString::to_string)
}

fn number(number: u32) -> AMQPValue {
    AMQPValue::LongLongInt(number.into())
}

/// The beginning of a text that may be of any length.
fn bounded(text: &str) -> &str {
    let end = (0..=text.len().min(REASON_BYTES)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        let long = "ü".repeat(REASON_BYTES);
        assert_eq!(bounded(&long).len(), REASON_BYTES);
        let odd = format!("x{long}");
        assert_eq!(bounded(&odd).len(), REASON_BYTES - 1);
    }
}
