//! Values written into a statement's text: for statements on other people's connections.
//!
//! A prepared statement belongs to a session, and behind a transaction pooler every transaction has
//! another one; a statement without parameters needs none, and saves a round trip. This is the only
//! place that puts the text of a statement together, and nothing gets into it but hexadecimal digits,
//! numbers, quoted names of schemas, and checked prefixes of names.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::borrow::Cow;
use std::fmt::{self, Write};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use uuid::Uuid;

use crate::sql::Namespace;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::sql::TablePrefix;

/// A value, as PostgreSQL reads it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only PostgreSQL needs all of them"))]
pub(super) enum Literal<'v> {
    Number(i64),
    Id(Uuid),
    /// The name of what belongs to an id: a savepoint, a cursor.
    Name(Uuid),
    Text(&'v str),
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    /// An id, as MySQL and SQLite read it.
    Binary(Uuid),
    #[cfg(feature = "mysql")]
    /// Bytes, as MySQL reads them.
    Bytes(&'v [u8]),
}

/// A statement, or a migration, with our names as they are called there.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn named(prefix: &TablePrefix, sql: &'static str) -> SqlStr {
    match prefix.apply(sql) {
        Cow::Borrowed(sql) => sql.into_sql_str(),
        Cow::Owned(sql) => AssertSqlSafe(sql).into_sql_str(),
    }
}

/// Replaces `$1`, `$2`, … in `sql` by `values`, of which there are nine at most.
pub(super) fn fill(sql: &'static str, values: &[Literal<'_>]) -> SqlStr {
    fill_at(&Namespace::default(), sql, values)
}

/// The same, and replaces `$0` by where the tables are. A number without a value is left, for a value that is bound.
pub(super) fn fill_at(namespace: &Namespace, sql: &'static str, values: &[Literal<'_>]) -> SqlStr {
    let sql = namespace.names(sql);
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(1);
        let place = number.parse::<usize>().ok().map(|number| number.checked_sub(1));
        let _ = match place.map(|place| place.map(|place| values.get(place))) {
            Some(None) => write!(text, "{namespace}"),
            Some(Some(Some(value))) => write!(text, "{value}"),
            Some(Some(None)) | None => write!(text, "${number}"),
        };
        text.push_str(rest);
    }
    AssertSqlSafe(text).into_sql_str()
}

/// The same statement for each of several rows of values, one after the other.
#[cfg(feature = "mysql")]
pub(super) fn fill_each<'v, const N: usize>(
    namespace: &Namespace,
    sql: &'static str,
    rows: impl Iterator<Item = [Literal<'v>; N]>,
) -> SqlStr {
    let filled: Vec<_> = rows.map(|values| fill_at(namespace, sql, &values)).collect();
    let texts: Vec<_> = filled.iter().map(SqlStr::as_str).collect();
    AssertSqlSafe(texts.join("; ")).into_sql_str()
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Id(id) => write!(f, "'{}'::uuid", id.simple()),
            Self::Name(id) => write!(f, "tm_fence_{}", id.simple()),
            #[cfg(any(feature = "mysql", feature = "sqlite"))]
            Self::Binary(id) => write!(f, "X'{}'", id.simple()),
            #[cfg(feature = "mysql")]
            Self::Bytes(bytes) => {
                f.write_str("X'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
            Self::Text(text) => {
                f.write_str("convert_from(decode('")?;
                text.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("', 'hex'), 'UTF8')")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_value_only_digits_get_into_the_text() {
        let hostile = "'; DROP TABLE tm_fence; -- $1 \\";
        let written = Literal::Text(hostile).to_string();
        let (before, rest) = written.split_once('\'').expect("quoted");
        let (digits, after) = rest.split_once('\'').expect("quoted");
        assert_eq!((before, after), ("convert_from(decode(", ", 'hex'), 'UTF8')"));
        assert!(digits.chars().all(|digit| digit.is_ascii_hexdigit()) && digits.len() == hostile.len() * 2);
        assert_eq!(Literal::Number(-7).to_string(), "-7");
    }

    #[cfg(any(feature = "postgres", feature = "mysql"))]
    #[test]
    fn what_has_no_value_is_left_to_be_bound() {
        let namespace = Namespace::quoted("my $1", '"', &TablePrefix::default());
        let filled = fill_at(&namespace, "SELECT $0.f($1, $2)", &[Literal::Number(5)]);
        assert_eq!(filled.as_str(), "SELECT \"my $1\".f(5, $2)");
    }

    #[test]
    fn each_value_gets_to_its_place() {
        let filled = fill("SELECT $2, $1; $2 $3", &[Literal::Number(5), Literal::Text("a")]);
        assert_eq!(
            filled.as_str(),
            "SELECT convert_from(decode('61', 'hex'), 'UTF8'), 5; convert_from(decode('61', 'hex'), 'UTF8') $3"
        );
    }
}
