//! A call: half messages → body → report. What generated code calls, and all that it does.

pub(crate) mod admission;
#[cfg(feature = "_sql")]
mod begin;
pub(crate) mod calls;
mod decided;
mod description;
#[cfg(feature = "_sql")]
mod enter;
pub(crate) mod group_commit;
mod halves;
pub(crate) mod live;
#[cfg(feature = "_sql")]
mod open;
mod outcome;
mod run;
mod running;
pub(crate) mod scope;
#[cfg(feature = "_sql")]
mod staged;
mod storing;
mod ticket;
#[cfg(feature = "_sql")]
mod transaction;

#[cfg(feature = "_sql")]
pub use begin::{Begin, BeginOn, begin};
pub use decided::{send, send_all};
pub use description::{Call, HandlerName};
#[cfg(feature = "_sql")]
pub use enter::{Entered, EnteredSql, InTransaction, enter, enter_sql};
pub(crate) use run::run_or;
pub use run::{WithBody, run, with_body};
pub use running::{call_id, withhold};
#[cfg(feature = "_sql")]
pub use transaction::FencedTransaction;
