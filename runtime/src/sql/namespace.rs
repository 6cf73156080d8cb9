//! Where our tables are within a database.

use std::fmt;
use std::sync::Arc;

/// The schema (PostgreSQL) or database (MySQL) that has our tables, quoted as it stands before their names.
///
/// Statements on the application's connections name it: a search path, a role or a `USE` of its own may have
/// moved such a connection elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace(Arc<str>);

impl Namespace {
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(schema: &str) -> Self {
        Self::quoted(schema, '"')
    }

    #[cfg(feature = "mysql")]
    pub(crate) fn mysql(database: &str) -> Self {
        Self::quoted(database, '`')
    }

    /// An identifier ends at its quote, unless that is doubled.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn quoted(name: &str, quote: char) -> Self {
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        Self(format!("{quote}{doubled}{quote}").into())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(all(test, feature = "postgres", feature = "mysql"))]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_does_not_end_it() {
        assert_eq!(Namespace::postgres("my \"app").to_string(), "\"my \"\"app\"");
        assert_eq!(Namespace::mysql("`; DROP").to_string(), "```; DROP`");
    }
}
