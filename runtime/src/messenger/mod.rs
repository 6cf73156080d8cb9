//! The messenger: the application's handle. It stores, reports, and owns the workers.

mod admin;
mod builder;
mod checks;
mod counts;
mod handle;
mod lifecycle;

pub use admin::Admin;
pub use builder::MessengerBuilder;
pub use handle::Messenger;
#[cfg(feature = "testing")]
pub(crate) use lifecycle::Workers;
