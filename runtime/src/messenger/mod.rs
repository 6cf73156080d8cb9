//! The messenger: the application's handle. It stores, reports, and owns the workers.

mod admin;
mod builder;
mod checks;
#[cfg(feature = "_sql")]
mod consumers;
mod counts;
mod handle;
mod in_scope;
#[cfg(feature = "tower")]
mod layer;
mod lifecycle;
mod operations;

pub use admin::{Admin, Answered, Finding, PrunedRows, Simulation};
#[cfg(feature = "rabbitmq")]
pub use admin::{
    DeadLetter, DeadLetters, Discard, DiscardSummary, Redrive, RedrivePreview, RedriveSummary, Redriven,
};
pub use builder::MessengerBuilder;
pub use handle::Messenger;
pub use in_scope::{InScope, WithMessenger, spawn};
#[cfg(feature = "tower")]
pub use layer::{ScopeLayer, Scoped};
#[cfg(feature = "testing")]
pub(crate) use lifecycle::Workers;
