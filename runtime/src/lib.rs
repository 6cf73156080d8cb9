//! Sends a message if, and only if, a business action took effect.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Without a database there is nothing to store in: enough to check annotated functions, no more.
#![cfg_attr(
    not(feature = "sqlite"),
    allow(dead_code, unreachable_pub, unused_mut, unused_variables, clippy::unused_async)
)]

mod check_back;
#[cfg(feature = "sqlite")]
mod consumer;
mod core;
mod database;
mod error;
#[cfg(feature = "fault-points")]
pub mod fault;
#[cfg(not(feature = "fault-points"))]
mod fault;
mod fence;
mod lease;
mod message;
mod messenger;
mod protocol;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod worker;

pub use transactional_message_macros::transactional_message;

pub use check_back::{Answer, Asked, Data, Decode, FromAsked, HalfMessage, Handler, Outcome, Raw};
#[cfg(feature = "sqlite")]
pub use consumer::{Consume, Consumer, Received};
pub use database::DatabaseSource;
pub use error::{Error, ErrorKind, FromHalfError};
#[cfg(feature = "sqlite")]
pub use fence::{Begin, BeginOn, BusinessDatabase, FencedTransaction, begin};
pub use message::state::State;
pub use message::{Message, MessageId, Payload};
pub use messenger::settings::{Backoff, Settings};
pub use messenger::{Builder, MessageInfo, Messenger};
pub use protocol::call::AnsweredBy;
pub use protocol::scope::{message_id, withhold};
pub use store::Stats;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
