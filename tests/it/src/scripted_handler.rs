//! What check-back handlers shall answer, and what they were asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use transactional_message::{CallId, Data, HalfMessage, MessageId, Outcome};

use crate::Order;

/// The data that every handler in this binary takes.
#[derive(Clone, Debug, Default)]
pub struct ScriptedHandler(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    answers: HashMap<u64, VecDeque<Reply>>,
    asked: Vec<Question>,
}

/// What a handler does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answers [`Outcome::Confirm`].
    Confirm,
    /// Answers [`Outcome::Cancel`].
    Cancel,
    /// Answers [`Outcome::Unknown`].
    Unknown,
    /// Fails.
    Error,
    /// Fails, with a text that PostgreSQL can't hold.
    Nul,
    /// Fails, with a text that only Unicode can hold.
    Foreign,
    /// Panics.
    Panic,
    /// Never answers.
    Hang,
    /// Answers [`Outcome::Confirm`] after this time.
    Slow(Duration),
}

/// A question that reached a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The order that the message is about.
    pub order: u64,
    /// The message's id.
    pub id: MessageId,
    /// The call's id.
    pub call_id: CallId,
    /// The business key.
    pub key: Option<String>,
    /// The message's age.
    pub age: Duration,
    /// How many times it was asked about.
    pub attempt: u32,
}

impl ScriptedHandler {
    /// Says what will be answered about `order`: one word a question, the last one for ever.
    pub fn say(&self, order: u64, words: impl IntoIterator<Item = Reply>) {
        self.known().answers.insert(order, words.into_iter().collect());
    }

    /// All questions, in order.
    pub fn questions(&self) -> Vec<Question> {
        self.known().asked.clone()
    }

    /// The questions about one order.
    pub fn asked(&self, order: u64) -> Vec<Question> {
        self.questions().into_iter().filter(|question| question.order == order).collect()
    }

    fn next(&self, question: Question) -> Option<Reply> {
        let mut known = self.known();
        let order = question.order;
        known.asked.push(question);
        let words = known.answers.get_mut(&order)?;
        if words.len() > 1 { words.pop_front() } else { words.front().copied() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handler of all annotated functions here, and of those that tests register by hand.
/// It fails when it was told nothing about the order.
pub async fn ask(half: HalfMessage<Order>, oracle: Data<ScriptedHandler>) -> Result<Outcome, String> {
    let order = half.payload.id;
    let HalfMessage { id, call_id, business_key: key, age, attempt, .. } = half;
    match oracle.next(Question { order, id, call_id, key, age, attempt }) {
        Some(Reply::Confirm) => Ok(Outcome::Confirm),
        Some(Reply::Cancel) => Ok(Outcome::Cancel),
        Some(Reply::Unknown) => Ok(Outcome::Unknown),
        Some(Reply::Error) => Err("the oracle is asleep".into()),
        Some(Reply::Nul) => Err("the oracle\0is asleep".into()),
        Some(Reply::Foreign) => Err("→ the oracle is asleep 💶".into()),
        Some(Reply::Panic) => panic!("the oracle is mad"),
        Some(Reply::Slow(time)) => {
            tokio::time::sleep(time).await;
            Ok(Outcome::Confirm)
        }
        Some(Reply::Hang) => std::future::pending().await,
        None => Err(format!("nobody expected a question about order {order}")),
    }
}
