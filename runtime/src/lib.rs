//! Sends a message if, and only if, a business action took effect.
//!
//! Paying an order must also send the accounting voucher. If the process dies between the two, the
//! orders and the accounts disagree permanently. This crate stores the message first, as an
//! undeliverable *half message*; if that fails, the business action does not run. Then the action
//! runs. Its result makes the message deliverable, or cancels it. If no result arrives, the library
//! asks the database, or a handler that you write.
//!
//! ```no_run
//! use serde::Serialize;
//! use sqlx::SqlitePool;
//! use transactional_message::{Messenger, begin, transactional_message};
//!
//! # type BoxError = Box<dyn std::error::Error + Send + Sync>;
//! #[derive(Serialize)]
//! struct OrderPaid<'a> { order: &'a str, cents: i64 }
//!
//! #[transactional_message(exchange = "orders", routing_key = "order.paid", fence,
//!                         message = OrderPaid { order, cents })]
//! async fn pay(db: &SqlitePool, order: &str, cents: i64) -> Result<(), BoxError> {
//!     let mut tx = begin(db).await?;
//!     sqlx::query("INSERT INTO paid (order_id, cents) VALUES (?, ?)")
//!         .bind(order)
//!         .bind(cents)
//!         .execute(&mut *tx)
//!         .await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! # async fn run() -> Result<(), BoxError> {
//! let db = SqlitePool::connect("sqlite://shop.db").await?;
//! let messenger = Messenger::builder(&db).fence("shop", &db).build().await?;
//! messenger.migrate().await?;
//! messenger.start().await?;
//! messenger.install_global()?;
//!
//! pay(&db, "order-1", 2500).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to go on
//!
#![cfg_attr(
    all(feature = "postgres", feature = "rabbitmq", feature = "testing"),
    doc = "- [`guide`]: a tutorial, and chapters on consumers, check-back, testing, operating, and replacing an outbox"
)]
//! - the attribute [`macro@transactional_message`]: all its arguments, and an example with a handler
#![cfg_attr(feature = "_sql", doc = "- [`begin`]: fenced transactions; [`Consumer`]: the receiving side")]
//! - [`Outcome`]: what a check-back handler answers
//! - [`Messenger`] and [`MessengerBuilder`], which hold everything together; [`Settings`]
#![cfg_attr(feature = "testing", doc = "- [`testing`]: annotated functions in unit tests")]
//!
//! # Features
//!
//! | feature | for |
//! |---|---|
//! | `sqlite` (default), `postgres`, `mysql` | message store, business database and consumer's database |
//! | `rabbitmq` | delivery through RabbitMQ; without it, messages are delivered within the process |
//! | `tls` | TLS to databases and RabbitMQ |
//! | `tower` | `Messenger::layer`: the messenger in scope while axum, tonic or another service of tower handles a request |
//! | `opentelemetry` | the context of a trace goes with each message, for `opentelemetry` 0.33 and `tracing-opentelemetry` 0.34 |
//! | `testing` | the module `testing`, for unit tests of annotated functions |
//! | `fault-points` | this crate's own tests, which kill the process at named points |
//!
//! sqlx is part of the public interface: pools, connections and transactions are its types, of the
//! version that this crate depends on.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Any database turns it on; nobody else shall.
#![cfg_attr(docsrs, doc(auto_cfg(hide(feature = "_sql"))))]
// Without a database there is nothing to store in: enough to check annotated functions, no more.
#![cfg_attr(
    not(feature = "_sql"),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        unused_mut,
        unused_variables,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )
)]

mod broker;
mod call;
mod check_back;
#[cfg(feature = "_sql")]
mod consumer;
mod database;
mod error;
#[cfg(feature = "fault-points")]
pub mod fault;
#[cfg(not(feature = "fault-points"))]
mod fault;
mod fence;
// Documentation only. Its examples use all of these features.
#[cfg(all(any(doc, doctest), feature = "postgres", feature = "rabbitmq", feature = "testing"))]
pub mod guide;
mod held;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "rabbitmq"))]
mod in_turn;
mod message;
mod messenger;
#[cfg(test)]
mod proptests;
mod rules;
mod settings;
mod sql;
mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod worker;

/// # With a fence
///
/// The database in which the function does its work answers whether it took effect:
///
/// ```
/// # use sqlx::SqlitePool;
/// # struct Pay { order_id: String, cents: i64 }
/// # struct Receipt;
/// # #[derive(serde::Serialize)]
/// # struct PaymentCompleted<'a> { order_id: &'a str, cents: i64 }
/// # type PayError = Box<dyn std::error::Error + Send + Sync>;
/// # async fn book(tx: &mut sqlx::SqliteConnection, command: Pay) -> Result<Receipt, PayError> { Ok(Receipt) }
/// use transactional_message::{begin, transactional_message};
///
/// #[transactional_message(exchange = "payments", routing_key = "payment.completed", fence,
///                         message = PaymentCompleted { order_id: &command.order_id, cents: command.cents })]
/// async fn pay(db: &SqlitePool, command: Pay) -> Result<Receipt, PayError> {
///     let mut tx = begin(db).await?;
///     let receipt = book(&mut tx, command).await?;
///     tx.commit().await?;
///     Ok(receipt)
/// }
/// ```
///
/// # With a check-back handler
///
/// A function of yours answers, for actions that are no transaction in a database:
///
/// ```
/// # #[derive(Clone)]
/// # struct Carrier;
/// # impl Carrier {
/// #     async fn order(&self, parcel: &Parcel, id: transactional_message::CallId) -> Result<Label, ShipError> { Ok(Label) }
/// #     async fn close(&self, id: transactional_message::CallId) -> Result<bool, ShipError> { Ok(true) }
/// # }
/// # struct Label;
/// # type ShipError = Box<dyn std::error::Error + Send + Sync>;
/// # struct Parcel { number: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct ParcelSent { number: u64 }
/// # impl From<&Parcel> for ParcelSent { fn from(parcel: &Parcel) -> Self { Self { number: parcel.number } } }
/// use transactional_message::{Data, HalfMessage, Outcome, call_id, transactional_message};
///
/// // A request that timed out may have succeeded: so an `Err` is asked about, too.
/// #[transactional_message(name = "ship", exchange = "shipping", routing_key = "parcel.sent",
///                         check_back = ship_outcome, on_err = ask, message = ParcelSent::from(&parcel))]
/// async fn ship(carrier: &Carrier, parcel: Parcel) -> Result<Label, ShipError> {
///     carrier.order(&parcel, call_id()).await
/// }
///
/// /// Asked only if no report says how `ship` ended. `Cancel` promises that nothing takes effect later, either: the
/// /// carrier refuses an order with this id from now on, and says whether it has one.
/// async fn ship_outcome(half: HalfMessage<ParcelSent>, carrier: Data<Carrier>) -> Result<Outcome, ShipError> {
///     Ok(if carrier.close(half.call_id).await? { Outcome::Confirm } else { Outcome::Cancel })
/// }
/// ```
///
/// # In general
pub use transactional_message_macros::transactional_message;

#[cfg(feature = "rabbitmq")]
pub use broker::rabbitmq::{ExchangeKind, RabbitMq};
#[cfg(feature = "_sql")]
pub use call::{
    Begin, BeginOn, Entered, EnteredSql, FencedTransaction, InTransaction, begin, enter, enter_sql,
};
pub use call::{Call, HandlerName, call_id, send, send_all, withhold};
pub use check_back::{Answer, Asked, Data, Decode, Extract, HalfMessage, Handler, RawPayload};
#[cfg(feature = "_sql")]
pub use consumer::{Consume, ConsumeBatch, Consumer, Received, Reject, RetryAfter};
pub use database::DatabaseSource;
#[cfg(feature = "_sql")]
pub use database::{Script, TablePart};
pub use error::{Error, ErrorKind, FromHalfError};
pub use message::state::MessageState;
pub use message::{CallId, Evidence, Message, MessageId, Outcome, Pausable, Payload};
pub use messenger::{
    Admin, Answered, Finding, InScope, Messenger, MessengerBuilder, PrunedRows, Simulation, WithMessenger,
    spawn,
};
#[cfg(feature = "rabbitmq")]
pub use messenger::{
    DeadLetter, DeadLetters, Discard, DiscardSummary, Redrive, RedrivePreview, RedriveSummary, Redriven,
};
#[cfg(feature = "tower")]
pub use messenger::{ScopeLayer, Scoped};
pub use rules::explain::words::{Language, Said};
pub use rules::explain::{Cause, Choice, Explanation, Next, Surroundings, When};
pub use settings::{Backoff, Settings};
#[cfg(feature = "_sql")]
pub use sql::{BusinessDatabase, Isolation};
pub use store::{
    Action, Actor, AuditFilter, AuditRecord, Contents, Filter, Gauge, Gauges, HeldBy, HistoryEntry,
    ItemOutcome, MessageInfo, Operation, OperationItem, Order, Page, Pause, ProcessInfo, Progress, Stats,
    Unfinished,
};
#[cfg(feature = "_sql")]
pub use telemetry::context::TraceContinuation;
#[cfg(feature = "_sql")]
pub use transport::Foreign;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
