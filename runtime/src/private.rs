//! Exactly what generated code may name. Not part of the public interface: it may change any time.

pub use inventory;

pub use crate::call::{Call, WithBody, run, with_body};
pub use crate::check_back::{CheckBack, HandlerRegistration, TypedHandler, handler};
pub use crate::error::ConvertError;

/// Begins the description of a call.
pub fn call(module: &'static str, function: &'static str) -> Call {
    Call::new(format!("{module}::{function}"))
}
