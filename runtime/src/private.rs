//! Exactly what generated code may name. Not part of the public interface: it may change any time.

pub use inventory;

pub use crate::check_back::{CheckBack, Producer, TypedHandler, handler};
pub use crate::error::ConvertError;
pub use crate::protocol::call::Call;
pub use crate::protocol::{WithBody, run, with_body};

/// Begins the description of a call.
pub fn call(module: &'static str, function: &'static str) -> Call {
    Call::new(format!("{module}::{function}"))
}
