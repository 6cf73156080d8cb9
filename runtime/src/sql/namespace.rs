//! Where our tables are within a database.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::table_place::TablePrefix;

/// The schema (PostgreSQL) or database (MySQL) that has our tables, quoted as it stands before their names; and what those
/// begin with.
///
/// Statements on the application's connections name it: a search path, a role or a `USE` of its own may have
/// moved such a connection elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    quoted: Arc<str>,
    prefix: TablePrefix,
}

impl Namespace {
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(schema: &str, prefix: &TablePrefix) -> Self {
        Self::quoted(schema, '"', prefix)
    }

    #[cfg(feature = "mysql")]
    pub(crate) fn mysql(database: &str, prefix: &TablePrefix) -> Self {
        Self::quoted(database, '`', prefix)
    }

    /// An identifier ends at its quote, unless that is doubled.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn quoted(name: &str, quote: char, prefix: &TablePrefix) -> Self {
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        Self { quoted: format!("{quote}{doubled}{quote}").into(), prefix: prefix.clone() }
    }

    /// Ours of a statement as they are called there.
    pub(crate) fn names(&self, sql: &'static str) -> Cow<'static, str> {
        self.prefix.apply(sql)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted)
    }
}

#[cfg(all(test, feature = "postgres", feature = "mysql"))]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_does_not_end_it() {
        let prefix = TablePrefix::default();
        assert_eq!(Namespace::postgres("my \"app", &prefix).to_string(), "\"my \"\"app\"");
        assert_eq!(Namespace::mysql("`; DROP", &prefix).to_string(), "```; DROP`");
    }
}
