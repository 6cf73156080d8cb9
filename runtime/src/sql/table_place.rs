//! Where the application wants our tables, and what they are called there.

use std::borrow::Cow;
use std::sync::Arc;

/// What the names of our tables, indexes and routines begin with by default.
const OURS: &str = "tm_";
/// Beside the longest of our names, `message_confirmed`, there is room for more in every database.
const LONGEST: usize = 32;
/// Looks like a name in the migrations of PostgreSQL, and is the beginning of a cursor's, which needs no other one.
const CURSOR: &str = "tm_fence_";

/// The wanted place.
#[derive(Clone, Debug, Default)]
pub struct TablePlace {
    /// The schema (PostgreSQL) or database (MySQL), if it is not to be looked for.
    pub(crate) schema: Option<String>,
    pub(crate) prefix: TablePrefix,
}

/// What the names of our tables, indexes and routines begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TablePrefix(Option<Arc<str>>);

impl TablePrefix {
    pub(crate) fn new(prefix: &str) -> Self {
        Self((prefix != OURS).then(|| prefix.into()))
    }

    #[cfg(feature = "sqlite")]
    pub(crate) const fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// Why it can't be used, if it can't. It gets into the text of statements.
    pub(crate) fn problem(&self) -> Option<String> {
        let prefix = self.0.as_deref()?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = prefix.starts_with(|first: char| first.is_ascii_lowercase());
        if begins && prefix.ends_with('_') && prefix.len() <= LONGEST && prefix.bytes().all(fits) {
            return None;
        }
        Some(format!(
            "`table_prefix` is `{prefix}`: it must have 2 to {LONGEST} lower-case letters, digits and underscores, begin with a \
             letter, and end with `_`, as in `shop_tm_`"
        ))
    }

    /// Ours of a statement, or of a migration, as they are called there.
    pub(crate) fn apply(&self, sql: &'static str) -> Cow<'static, str> {
        let Some(prefix) = self.0.as_deref() else { return Cow::Borrowed(sql) };
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let (mut text, mut done) = (String::with_capacity(sql.len() + 64), 0);
        for (at, _) in sql.match_indices(OURS) {
            let rest = &sql[at..];
            let name = rest.bytes().position(|byte| !belongs(byte)).map_or(rest, |end| &rest[..end]);
            // A session's variables are everybody's, also those of statements that know nothing of a prefix.
            let is_other = |before: u8| belongs(before) || before == b'@';
            if sql[..at].bytes().next_back().is_some_and(is_other) || name == CURSOR {
                continue;
            }
            text.push_str(&sql[done..at]);
            text.push_str(prefix);
            done = at + OURS.len();
        }
        text.push_str(&sql[done..]);
        Cow::Owned(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_get_it_and_nothing_else_does() {
        let prefix = TablePrefix::new("shop_");
        for (sql, expected) in [
            ("SELECT 1 FROM tm_fence f", "SELECT 1 FROM shop_fence f"),
            ("$0.tm_inbox.entries, 'tm_fence'::regclass", "$0.shop_inbox.entries, 'shop_fence'::regclass"),
            ("concat('tm_fence_', id)", "concat('tm_fence_', id)"),
            ("SET @tm_autocommit = 1", "SET @tm_autocommit = 1"),
            ("their_tm_fence, item_fence, TM_", "their_tm_fence, item_fence, TM_"),
            ("tm_message", "shop_message"),
        ] {
            assert_eq!(prefix.apply(sql), expected);
            assert_eq!(TablePrefix::new("tm_").apply(sql), sql);
        }
    }

    #[test]
    fn only_what_fits_into_any_name_is_taken() {
        for good in ["tm_", "a_", "shop_2_tm_"] {
            assert_eq!(TablePrefix::new(good).problem(), None, "{good}");
        }
        for bad in
            ["", "_", "shop", "Shop_", "2_", "a-_", "a; DROP_", "ä_", &format!("{}_", "a".repeat(LONGEST))]
        {
            assert!(TablePrefix::new(bad).problem().is_some(), "{bad}");
        }
    }
}
