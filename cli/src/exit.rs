//! How a command ends: its exit code, and what is said then.

use std::fmt;
use std::process::ExitCode;

use transactional_message::{Error, ErrorKind};

/// The exit codes, the same for all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing found wrong.
    Done = 0,
    /// The store could not be reached, or something else failed.
    Failed = 1,
    /// Wrong usage, or a question that can't be asked.
    Usage = 2,
    /// Some of it was done.
    Partly = 3,
    /// A message's state or its fence forbids it.
    Refused = 4,
    /// There is no such message.
    NotFound = 5,
    /// A check found something.
    Found = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Refused => Exit::Refused,
            ErrorKind::Configuration => Exit::Usage,
            _ => Exit::Failed,
        };
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(why) = cause {
            let why_text = why.to_string();
            if !text.contains(&why_text) {
                text = format!("{text}: {why_text}");
            }
            cause = why.source();
        }
        if error.kind() == ErrorKind::Schema && !text.contains("newer than") {
            text.push_str("; `tm migrate` brings them up to this version");
            if text.contains("at version 0") {
                text.push_str(
                    ". If they are there, this connection does not see them: name their schema by --schema",
                );
            }
        }
        // As PostgreSQL, MySQL and MariaDB say that a password is wrong.
        if error.kind() == ErrorKind::Unavailable
            && ["(28P01)", "(1045)"].iter().any(|code| text.contains(code))
        {
            text.push_str("; was the password changed? Give the one of now in the URL: --database-url, --fence, the environment or tm.toml");
        }
        Self { exit, text }
    }
}

/// A result that can't be written.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, format!("the result could not be written: {error}"))
    }
}
