//! Check-back: asking for the outcome of a call that nobody reported.

mod arguments;
mod handler;
pub(crate) mod registry;

pub use arguments::{Asked, Data, Decode, Extract, HalfMessage, RawPayload};
pub(crate) use arguments::{DataMap, Need};
pub use handler::{Answer, CheckBack, Handler, TypedHandler, handler};
pub use registry::HandlerRegistration;
