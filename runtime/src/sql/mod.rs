//! What fences and inboxes need of a database, on connections of the application: the port that each database
//! implements, and the open transaction that both work in.

mod fence;
pub(crate) mod held;
mod inbox;
mod transaction;

use sqlx::Database;

pub(crate) use fence::{CommitFailure, FenceDialect, FenceRefusal};
pub(crate) use held::HeldTransaction;
pub(crate) use inbox::{InboxDialect, InboxEntry, InboxKey, InboxQueue};
pub use transaction::Isolation;
pub(crate) use transaction::{TransactionDialect, WriteTurn, begin_on_pool, fit_connection};

/// A database whose transactions can be fenced, and can hold an inbox.
///
/// Implemented for the databases whose feature is on. Sealed: what it consists of is not public.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database that transactional-message knows",
    note = "turn its feature on: `sqlite`, `postgres` or `mysql`"
)]
pub trait BusinessDatabase: Database + FenceDialect + InboxDialect {}

#[cfg(feature = "sqlite")]
impl BusinessDatabase for sqlx::Sqlite {}
#[cfg(feature = "postgres")]
impl BusinessDatabase for sqlx::Postgres {}
#[cfg(feature = "mysql")]
impl BusinessDatabase for sqlx::MySql {}
