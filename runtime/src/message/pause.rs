//! What a person can pause.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What can be paused, in all processes over a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pausable {
    /// Deliveries, consumers and check-backs.
    All,
    /// Check-backs: half messages stay as they are. What a function reports is applied all the same.
    CheckBacks,
    /// Deliveries to this exchange: its messages stay confirmed.
    Exchange(String),
    /// The consumer of this queue: it finishes what it has in hand, and takes no more.
    Queue(String),
}

impl Pausable {
    /// How the reasons of all messages begin that a pause has put off.
    pub(crate) const MARK: &str = "paused: ";

    /// How the reason of a message begins that is put off because of this.
    pub(crate) fn mark(&self) -> String {
        format!("{}{self}; ", Self::MARK)
    }
}

impl fmt::Display for Pausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::CheckBacks => f.write_str("check_backs"),
            Self::Exchange(name) => write!(f, "exchange:{name}"),
            Self::Queue(name) => write!(f, "queue:{name}"),
        }
    }
}

impl FromStr for Pausable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("exchange", name)) => Ok(Self::Exchange(name.to_owned())),
            Some(("queue", name)) => Ok(Self::Queue(name.to_owned())),
            None if text == "all" => Ok(Self::All),
            None if text == "check_backs" => Ok(Self::CheckBacks),
            _ => Err(format!("`{text}` can't be paused: all, check_backs, exchange:NAME or queue:NAME can")),
        }
    }
}

impl Serialize for Pausable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let exchange = Pausable::Exchange("a:b".into());
        for what in [Pausable::All, Pausable::CheckBacks, exchange, Pausable::Queue(String::new())] {
            assert_eq!(what.to_string().parse(), Ok(what));
        }
        assert!("check-backs".parse::<Pausable>().is_err());
    }
}
