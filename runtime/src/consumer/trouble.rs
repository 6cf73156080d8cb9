//! What keeps a consumer from its inbox: told once, with the remedy, and counted.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::MessageId;
use crate::store::StoreError;
use crate::telemetry;
use crate::telemetry::catalogue::CONSUMER_WAITING;

/// What passes sooner is not worth a line.
const PASSING: Duration = Duration::from_secs(1);
/// So many different causes are told until it works again.
const MOST_CAUSES: usize = 16;
/// More waiting messages than these are not told apart.
const MOST_WAITING: usize = 100_000;

/// The trouble of one consumer.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<Since>>);

#[derive(Debug)]
struct Since {
    began: Instant,
    told: HashSet<String>,
    waiting: HashSet<MessageId>,
}

impl Trouble {
    /// A message could not be recorded, and waits.
    pub(super) fn keeps(&self, queue: &str, id: MessageId, error: &StoreError) {
        let mut trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.get_or_insert_with(|| Since {
            began: Instant::now(),
            told: HashSet::new(),
            waiting: HashSet::new(),
        });
        if since.waiting.len() < MOST_WAITING && since.waiting.insert(id) {
            gauge(queue, since.waiting.len());
        }
        let cause = error.to_string();
        if since.began.elapsed() < PASSING
            || since.told.len() >= MOST_CAUSES
            || !since.told.insert(cause.clone())
        {
            return;
        }
        tracing::warn!(
            queue,
            waiting = since.waiting.len(),
            cause,
            "a consumer can't write to its inbox, and handles nothing until it can; its messages wait, and no attempt is \
             counted. The user of the consumer's pool needs SELECT, INSERT, UPDATE and DELETE on the tables tm_inbox, \
             tm_inbox_pruned and tm_inbox_entered, in a database that takes writes; `Messenger::migrate` creates them"
        );
    }

    /// A message was recorded.
    pub(super) fn is_over(&self, queue: &str) {
        let over = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Since { began, told, waiting }) = over else { return };
        gauge(queue, 0);
        if !told.is_empty() {
            tracing::info!(queue, after = ?began.elapsed(), waited = waiting.len(), "a consumer can write to its inbox again");
        }
    }
}

fn gauge(queue: &str, waiting: usize) {
    CONSUMER_WAITING.one(queue).set(telemetry::count(waiting));
}
