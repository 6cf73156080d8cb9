//! Check-back: asking for the outcome of a call that nobody reported.

mod arguments;
mod handler;
pub(crate) mod registry;

pub(crate) use arguments::DataMap;
pub use arguments::{Asked, Data, Decode, FromAsked, HalfMessage, RawPayload};
pub use handler::{Answer, CheckBack, Handler, TypedHandler, handler};
pub use registry::HandlerRegistration;
