//! A call: half messages → body → report. What generated code calls, and all that it does.

pub(crate) mod admission;
#[cfg(feature = "_sql")]
mod begin;
pub(crate) mod calls;
mod description;
#[cfg(feature = "_sql")]
mod enter;
pub(crate) mod group_commit;
mod halves;
pub(crate) mod live;
mod run;
pub(crate) mod scope;
mod ticket;
#[cfg(feature = "_sql")]
mod transaction;

#[cfg(feature = "_sql")]
pub use begin::{Begin, BeginOn, begin};
pub use description::{Call, HandlerName};
#[cfg(feature = "_sql")]
pub use enter::{Entered, EnteredSql, InTransaction, enter, enter_sql};
pub(crate) use run::run_or;
pub use run::{WithBody, run, with_body};
pub use scope::{call_id, withhold};
#[cfg(feature = "_sql")]
pub use transaction::FencedTransaction;
