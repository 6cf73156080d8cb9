//! The one error type: what went wrong, whether the body ran, and what to do about it.

use std::fmt;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No messenger is in scope, and none is installed.
    NoMessenger,
    /// The messenger is not started, or is shutting down, or its runtime has ended.
    NotRunning,
    /// The message store or a business database could not be reached, or did not answer in time.
    Unavailable,
    /// The message breaks a limit or could not be encoded.
    InvalidMessage,
    /// The call has been cancelled by a check-back: its transaction can no longer commit, and one that it was to
    /// [`enter`](crate::enter) is to be rolled back.
    Fenced,
    /// The call's transaction has committed, or may have: it cannot be begun again.
    AlreadyCommitted,
    /// `begin`, `enter`, `call_id`, `withhold` or a nested call was used where it cannot be.
    Misuse,
    /// The fence was not proven to be in place: `commit` rolled the transaction back; after `done`, its owner has to.
    Unproven,
    /// The database rolled the transaction back when it was to commit: it may be begun again.
    RolledBack,
    /// The messenger was put together wrongly.
    Configuration,
    /// The tables are missing or of another version.
    Schema,
    /// No message has that id, or its state does not allow what was asked for.
    Refused,
}

/// Anything that this crate reports.
///
/// An annotated function's error type carries it by `From<transactional_message::Error>`.
pub struct Error {
    kind: ErrorKind,
    message: String,
    body_ran: bool,
    retryable: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), body_ran: false, retryable: false, source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Marks an error after which the same may succeed.
    pub(crate) const fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Marks an error that the body itself met.
    pub(crate) fn in_body(mut self) -> Self {
        self.body_ran = true;
        self
    }

    /// What kind of thing went wrong.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same may succeed when it is repeated unchanged, and the fenced transaction had no effect: the store did
    /// not answer before the body ran, a check-back cancelled the call before its transaction began, or the database
    /// rolled the transaction back after a conflict with another one. What a body has done outside of its transaction
    /// happens again. `false` also means that this is not known, as after a commit whose answer was lost.
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Whether the body of the call that this error is about had begun. `false`: that call did
    /// nothing, and a retry is safe. (An outer annotated body that passes on an inner call's error
    /// has run all the same.)
    pub const fn body_ran(&self) -> bool {
        self.body_ran
    }
}

// The cause is part of the text: a caller who logs only `{error}` still learns what happened.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)?;
        match self.kind {
            // About a messenger, not about a call.
            ErrorKind::Configuration | ErrorKind::Schema | ErrorKind::Refused => Ok(()),
            _ => write!(f, " (body {})", if self.body_ran { "ran" } else { "did not run" }),
        }
    }
}

/// The text has the cause in it, so [`source`](std::error::Error::source) goes on with the cause of the cause: who prints
/// the whole chain, as `anyhow` does, reads nothing twice.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().and_then(std::error::Error::source)
    }
}

/// An error type that can carry this crate's [`Error`].
///
/// A trait of our own, because a diagnostic cannot be attached to `From`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a `transactional_message::Error`",
    label = "does not implement `From<transactional_message::Error>`",
    note = "a `#[transactional_message]` function returns an error when its half message cannot be stored: \
            add a variant with `#[from] transactional_message::Error` to its error type",
    note = "if the type is not yours, write a function `fn(transactional_message::Error) -> {Self}`, and name it in \
            the attribute: `error = path::to::function`"
)]
pub trait FromHalfError {
    /// Converts.
    fn from_half_error(error: Error) -> Self;
}

impl<E: From<Error>> FromHalfError for E {
    fn from_half_error(error: Error) -> Self {
        error.into()
    }
}

/// A function that makes an error of type `E` from this crate's [`Error`]: what `error = ..` in the attribute names.
///
/// A trait of our own, because a diagnostic cannot be attached to `FnOnce`.
#[diagnostic::on_unimplemented(
    message = "`error` needs a function that takes a `transactional_message::Error` and returns `{E}`",
    label = "not a `fn(transactional_message::Error) -> {E}`",
    note = "`{E}` is the error type of the annotated function"
)]
pub trait ConvertError<E> {
    /// Converts.
    fn convert(self, error: Error) -> E;
}

impl<E, F: FnOnce(Error) -> E> ConvertError<E> for F {
    fn convert(self, error: Error) -> E {
        self(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no route")]
    struct Root;

    #[derive(Debug, thiserror::Error)]
    #[error("connecting failed")]
    struct Cause(#[source] Root);

    #[test]
    fn a_chain_has_each_text_once() {
        let error = Error::new(ErrorKind::Unavailable, "not stored").with_source(Cause(Root));
        let mut chain = vec![error.to_string()];
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            chain.push(cause.to_string());
            next = cause.source();
        }
        assert_eq!(chain, ["not stored: connecting failed", "no route"]);
    }

    #[test]
    fn only_what_may_pass_by_itself_is_retryable() {
        use crate::store::StoreError;
        let of = |cause: StoreError| cause.into_error("read").is_retryable();
        assert!(of(StoreError::Unavailable("away".into())));
        assert!(!of(StoreError::Unexpected("permission denied".into())));
        assert!(!of(StoreError::Refused("too long".into())));
        assert!(!of(StoreError::Schema("no table".into())));
        assert!(!Error::new(ErrorKind::NotRunning, "").is_retryable());
    }
}
