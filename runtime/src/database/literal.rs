//! Values written into a statement's text: for statements on other people's connections.
//!
//! A prepared statement belongs to a session, and behind a transaction pooler every transaction has
//! another one; a statement without parameters needs none, and saves a round trip. This is the only
//! place that puts the text of a statement together, and nothing gets into it but hexadecimal digits
//! and numbers.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use uuid::Uuid;

/// A value, as PostgreSQL reads it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Literal<'v> {
    Number(i64),
    Id(Uuid),
    Text(&'v str),
}

/// Replaces `$1`, `$2`, … in `sql` by `values`.
pub(super) fn fill(sql: &'static str, values: &[Literal<'_>]) -> SqlStr {
    let mut text = sql.to_owned();
    // From the last to the first: `$1` is a part of `$10`.
    for (index, value) in values.iter().enumerate().rev() {
        text = text.replace(&format!("${}", index + 1), &value.written());
    }
    AssertSqlSafe(text).into_sql_str()
}

impl Literal<'_> {
    fn written(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Id(id) => format!("'{}'::uuid", id.simple()),
            Self::Text(text) => format!("convert_from({}, 'UTF8')", hexadecimal(text.as_bytes())),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + 32);
    text.push_str("decode('");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str("', 'hex')");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_value_only_digits_get_into_the_text() {
        let hostile = "'; DROP TABLE tm_fence; -- $1 \\";
        let written = Literal::Text(hostile).written();
        let (before, rest) = written.split_once('\'').expect("quoted");
        let (digits, after) = rest.split_once('\'').expect("quoted");
        assert_eq!((before, after), ("convert_from(decode(", ", 'hex'), 'UTF8')"));
        assert!(digits.chars().all(|digit| digit.is_ascii_hexdigit()) && digits.len() == hostile.len() * 2);
        assert_eq!(Literal::Number(-7).written(), "-7");
    }
}
