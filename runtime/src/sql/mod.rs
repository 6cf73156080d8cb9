//! What fences and inboxes need of a database, on connections of the application: the port that each database
//! implements, and the open transaction that both work in.

#[cfg(feature = "_sql")]
mod fence;
#[cfg(feature = "_sql")]
mod inbox;
mod key;
mod namespace;
#[cfg(feature = "_sql")]
pub(crate) mod raw;
mod table_place;
#[cfg(feature = "_sql")]
mod transaction;

#[cfg(feature = "_sql")]
pub(crate) use fence::{CommitFailure, FenceDialect, FenceRefusal};
#[cfg(feature = "_sql")]
pub(crate) use inbox::{InboxDialect, InboxEntry, InboxKey, InboxQueue, list};
pub(crate) use key::{FenceKey, FenceRow, FenceWrite};
pub(crate) use namespace::Namespace;
#[cfg(feature = "_sql")]
pub(crate) use raw::{RawTransaction, begin_on_pool, fit_connection};
pub(crate) use table_place::{TablePlace, TablePrefix};
#[cfg(feature = "_sql")]
pub use transaction::Isolation;
#[cfg(feature = "_sql")]
pub(crate) use transaction::{Giver, TransactionDialect, WriteTurn};

/// A database whose transactions can be fenced, and can hold an inbox.
///
/// Implemented for the databases whose feature is on. Sealed: what it consists of is not public.
#[cfg(feature = "_sql")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database that transactional-message knows",
    note = "turn its feature on: `sqlite`, `postgres` or `mysql`"
)]
pub trait BusinessDatabase: sqlx::Database + FenceDialect + InboxDialect {}

#[cfg(feature = "sqlite")]
impl BusinessDatabase for sqlx::Sqlite {}
#[cfg(feature = "postgres")]
impl BusinessDatabase for sqlx::Postgres {}
#[cfg(feature = "mysql")]
impl BusinessDatabase for sqlx::MySql {}
