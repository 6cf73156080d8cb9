//! What the integration tests share.
//!
//! Every test has databases of its own: the business database, the consumers' database, and the
//! message store. The scenarios are the same for all kinds of databases; what differs between these
//! is in `databases`. Nothing is waited for by time alone: [`wait_until`] waits for something that can
//! be seen, and says what when it does not come.

#![allow(clippy::missing_panics_doc, clippy::missing_errors_doc, reason = "tests are made of them")]

mod calls;
mod databases;
mod load;
mod log;
mod looks;
mod outage;
mod plain;
mod process;
mod process_log;
mod rabbit;
mod says;
mod scripted_consumer;
mod scripted_handler;
mod wait;
mod world;

pub use calls::{
    Order, ShopError, fenced, fenced_amendable, fenced_bytes, fenced_delayed, fenced_expiring, fenced_twice,
    handled, handled_asking, handled_delayed, handled_late, handled_twice, order,
};
pub use databases::{
    Connection, Dialect, Fragile, MySqlDatabases, Place, PooledDatabase, PostgresSchemas, Remote,
    SqliteFiles, number, numbers, run, texts, write,
};
pub use load::{Load, books_agree, under_load};
pub use log::Log;
pub use looks::{LOOKS, STATE, STORED, look};
pub use outage::Outage;
pub use plain::{AnsweredBy, call};
pub use process::{Gate, Process, gate};
pub use process_log::ProcessLog;
pub use rabbit::{Rabbit, Taken, send};
pub use says::{PASSWORD, says};
pub use scripted_consumer::{Action, Delivery, ScriptedConsumer};
pub use scripted_handler::{Question, Reply, ScriptedHandler, ask};
pub use services::proxy::Proxy;
pub use wait::{answered, counted, listed, vanish, wait_until};
pub use world::{World, fast};

/// The README's examples, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
