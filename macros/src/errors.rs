//! Collects every mistake in an attribute, so that all of them are reported by one compilation.

use std::fmt::Display;

use proc_macro2::Span;
use syn::{Error, Result};

/// The mistakes found so far, each with the place that it is about.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, place: Span, message: impl Display) {
        self.add(Error::new(place, message));
    }

    /// The value, if no mistake was found. A value that could not be made is a mistake that somebody
    /// has reported, so the last arm says nothing helpful: nobody is meant to read it.
    pub(crate) fn or_else<T>(self, value: Option<T>) -> Result<T> {
        match (self.0, value) {
            (Some(errors), _) => Err(errors),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(Error::new(Span::call_site(), "incomplete `#[transactional_message]`")),
        }
    }
}
