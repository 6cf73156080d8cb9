//! Check-back: asking for the outcome of a call that nobody reported.

mod arguments;
mod handler;
pub(crate) mod registry;

pub(crate) use arguments::DataMap;
pub use arguments::{Data, Decode, FromAsked, HalfMessage, RawPayload};
pub use handler::{Answer, Asked, CheckBack, Handler, TypedHandler, handler};
pub use registry::Producer;

/// The answer to a check-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The business action took effect: the message is delivered.
    Confirm,
    /// The business action took no effect, **and never will**: the message is cancelled.
    Cancel,
    /// Nobody can say yet: the question is asked again later.
    Unknown,
}
