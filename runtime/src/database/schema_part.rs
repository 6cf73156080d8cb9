//! The parts of the schema, and what their versions mean.
//!
//! A part has tables of its own, since it may live in a database of its own, and its own line in
//! `tm_schema`, which leaves the application's migrations alone. The scripts keep that line
//! themselves: whoever lacks the right to create tables has them run by somebody who has it.

use crate::store::StoreError;

/// A set of tables that is migrated on its own, since it may be in a database of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TablePart {
    /// Of the message store.
    Message,
    /// Of a business database.
    Fence,
    /// Of a consumer's database.
    Inbox,
}

/// A set of tables that is migrated on its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct SchemaPart {
    pub(super) name: &'static str,
    /// The table by which it is found.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "only PostgreSQL searches several schemas")
    )]
    pub(super) table: &'static str,
    /// One script a version, each run once, in order.
    pub(super) scripts: &'static [&'static str],
}

impl SchemaPart {
    /// The scripts that a database at `version` lacks.
    pub(super) fn missing(self, version: i64) -> Result<&'static [&'static str], StoreError> {
        let applied = usize::try_from(version).unwrap_or(usize::MAX);
        self.scripts.get(applied..).ok_or_else(|| {
            StoreError::Schema(format!(
                "the tables for `{}` are at version {version}, newer than this crate knows ({}): update transactional-message",
                self.name,
                self.scripts.len()
            ))
        })
    }

    /// Errs unless a database at `version` has everything.
    pub(super) fn require(self, version: i64) -> Result<(), StoreError> {
        if self.missing(version)?.is_empty() {
            return Ok(());
        }
        Err(StoreError::Schema(format!(
            "the tables for `{}` are at version {version}, this crate needs {}: call `Messenger::migrate` first, or \
             have the files in its folder `migrations` run",
            self.name,
            self.scripts.len()
        )))
    }
}

/// A part with its scripts, by their versions, for one kind of database.
macro_rules! part {
    ($database:literal, $name:literal, [$($version:literal),+]) => {
        SchemaPart {
            name: $name,
            table: concat!("tm_", $name),
            scripts: &[$(include_str!(concat!("../../../migrations/", $database, "/", $name, "_", $version, ".sql"))),+],
        }
    };
}
pub(super) use part;
