//! A consumer that writes down what it hears, in memory and through its inbox.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use transactional_message::{Consume, ConsumeBatch, MessageId, RawPayload, Received, Reject, RetryAfter};

use crate::Order;
use crate::databases::{Connection, Dialect};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Handles every message, and remembers each delivery, duplicates too.
#[derive(Clone, Debug)]
pub struct ScriptedConsumer {
    queue: String,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    heard: Vec<Delivery>,
    batches: Vec<usize>,
    acts: HashMap<u64, VecDeque<Action>>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id.
    pub id: MessageId,
    /// Its routing key.
    pub routing_key: String,
    /// Its body as text.
    pub body: String,
    /// Its number in the payload; none when the body is something else.
    pub order: Option<u64>,
    /// Which attempt it was.
    pub attempt: u32,
    /// What else came along: business key, type and headers.
    pub properties: (Option<String>, Option<String>, Vec<(String, String)>),
}

/// What the handler does with a delivery; by default it writes the effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes the effect.
    Write,
    /// Writes the effect, and fails.
    Fail,
    /// Writes the effect, and says that nothing will help.
    Reject,
    /// Writes the effect, and says when to try again.
    RetryAfter(Duration),
    /// Writes the effect, and fails with a text that PostgreSQL can't hold.
    Nul,
    /// Writes the effect, and fails with a text that only Unicode can hold.
    Foreign,
    /// Writes the effect, and panics.
    Panic,
    /// Writes the effect, ends the transaction by a statement that fails, and says `Ok`.
    Swallow,
    /// Writes the effect, commits by itself, and says `Ok`.
    Commit,
    /// Writes the effect, and runs statements.
    Run(&'static str),
    /// Writes the effect, and takes its time.
    Slow(Duration),
    /// Writes the effect, and never returns.
    Never,
    /// Writes the effect, and waits for a statement that takes ten minutes.
    Stuck,
}

impl ScriptedConsumer {
    pub(crate) fn new(queue: &str) -> Self {
        Self { queue: queue.into(), memory: Arc::default() }
    }

    /// Says what will be done about `order`: one act a delivery, the last one for ever.
    pub fn will(&self, order: u64, acts: impl IntoIterator<Item = Action>) {
        self.memory().acts.insert(order, acts.into_iter().collect());
    }

    /// All deliveries, in order.
    pub fn heard(&self) -> Vec<Delivery> {
        self.memory().heard.clone()
    }

    /// How many messages came together, each time that several may.
    pub fn batches(&self) -> Vec<usize> {
        self.memory().batches.clone()
    }

    /// Forgets all deliveries.
    pub fn forget(&self) {
        self.memory().heard.clear();
    }

    /// The numbers of all orders that were delivered, sorted, duplicates too.
    pub fn orders(&self) -> Vec<u64> {
        let mut orders: Vec<_> = self.memory().heard.iter().filter_map(|heard| heard.order).collect();
        orders.sort_unstable();
        orders
    }

    /// The deliveries of one order.
    pub fn heard_of(&self, order: u64) -> Vec<Delivery> {
        self.heard().into_iter().filter(|heard| heard.order == Some(order)).collect()
    }

    fn note(&self, message: &Received<RawPayload>) -> Action {
        let body = String::from_utf8_lossy(&message.payload.0).into_owned();
        let order = serde_json::from_str::<Order>(&body).ok().map(|order| order.id);
        let mut memory = self.memory();
        memory.heard.push(Delivery {
            id: message.id,
            routing_key: message.routing_key.clone(),
            body,
            order,
            attempt: message.attempt,
            properties: (message.business_key.clone(), message.message_type.clone(), message.headers.clone()),
        });
        let Some(acts) = order.and_then(|order| memory.acts.get_mut(&order)) else { return Action::Write };
        let next = if acts.len() > 1 { acts.pop_front() } else { acts.front().copied() };
        next.unwrap_or(Action::Write)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what it was told about a delivery.
async fn handle<DB: Dialect>(
    connection: &mut Connection<DB>,
    message: Received<RawPayload>,
    queue: String,
    act: Action,
) -> Result<(), BoxError> {
    let body = String::from_utf8_lossy(&message.payload.0).into_owned();
    DB::effect(connection, &queue, message.id, &body).await?;
    match act {
        Action::Write => Ok(()),
        Action::Fail => Err("no ink".into()),
        Action::Reject => Err(Reject::because("no such account").into()),
        Action::RetryAfter(pause) => Err(RetryAfter::new(pause).because("no ink yet").into()),
        Action::Nul => Err("no\0ink".into()),
        Action::Foreign => Err("→ no ink 💶".into()),
        Action::Panic => panic!("the listener fell over"),
        Action::Swallow => {
            let failed = DB::run(connection, DB::SWALLOWED.0).await;
            assert!(failed.is_err(), "the statement was to fail");
            Ok(())
        }
        Action::Commit => {
            DB::run(connection, "COMMIT").await.expect("commits");
            Ok(())
        }
        Action::Run(sql) => Ok(DB::run(connection, sql).await.map(drop)?),
        Action::Slow(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Action::Never => std::future::pending().await,
        Action::Stuck => {
            let _ = DB::run(connection, DB::STUCK).await;
            std::future::pending().await
        }
    }
}

// Not for every `DB` at once: the connection alone does not say which it is.
macro_rules! listens {
    ($database:ty, $connection:ty) => {
        impl<'c> Consume<'c, $connection, RawPayload> for ScriptedConsumer {
            type Error = BoxError;
            type Future = BoxFuture<'c, Result<(), BoxError>>;

            fn consume(
                &self,
                connection: &'c mut $connection,
                message: Received<RawPayload>,
            ) -> Self::Future {
                let act = self.note(&message);
                Box::pin(handle::<$database>(connection, message, self.queue.clone(), act))
            }
        }

        impl<'c> ConsumeBatch<'c, $connection, RawPayload> for ScriptedConsumer {
            type Error = BoxError;
            type Future = BoxFuture<'c, Result<(), BoxError>>;

            fn consume(
                &self,
                connection: &'c mut $connection,
                messages: Vec<Received<RawPayload>>,
            ) -> Self::Future {
                self.memory().batches.push(messages.len());
                let acts: Vec<_> = messages.iter().map(|message| self.note(message)).collect();
                let queue = self.queue.clone();
                Box::pin(async move {
                    for (message, act) in messages.into_iter().zip(acts) {
                        handle::<$database>(&mut *connection, message, queue.clone(), act).await?;
                    }
                    Ok(())
                })
            }
        }
    };
}
listens!(sqlx::Sqlite, sqlx::SqliteConnection);
listens!(sqlx::Postgres, sqlx::PgConnection);
listens!(sqlx::MySql, sqlx::MySqlConnection);
