//! What can be annotated: each file in `pass/` is a module of this test, so that the compiler and its lints
//! look at it as at anybody's code.

#![allow(clippy::unused_async, reason = "a handler is asynchronous, even if it has nothing to wait for")]

#[path = "../pass/arguments.rs"]
mod arguments;
#[path = "../pass/attributes.rs"]
mod attributes;
#[path = "../pass/boxed_future.rs"]
mod boxed_future;
#[path = "../pass/crate_path.rs"]
mod crate_path;
#[path = "../pass/errors.rs"]
mod errors;
#[path = "../pass/free_fn.rs"]
mod free_fn;
#[path = "../pass/handlers.rs"]
mod handlers;
#[path = "../pass/macro_rules.rs"]
mod macro_rules;
#[path = "../pass/methods.rs"]
mod methods;
#[path = "../pass/names.rs"]
mod names;
#[path = "../pass/patterns.rs"]
mod patterns;
#[path = "../pass/recursion.rs"]
mod recursion;
#[path = "../pass/return_types.rs"]
mod return_types;
#[path = "../pass/stacked.rs"]
mod stacked;
#[path = "../pass/traits.rs"]
mod traits;
