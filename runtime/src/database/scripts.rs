//! The migrations as text, for whoever must not or would not have them run by a program.

use super::schema_part::TablePart;
use super::source::DatabaseSource;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;

/// One migration. They are run in their order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Script {
    /// Its name, such as `message_1.sql`: as in the crate's folder `migrations`.
    pub name: String,
    /// Its statements, with the tables' names as they are there.
    pub sql: String,
}

impl DatabaseSource {
    /// The migrations of a part of the tables, for this kind of database and with its table prefix; nothing is connected to.
    /// Each notes its version in `tm_schema`, so [`Messenger::migrate`](crate::Messenger::migrate) goes on where they end.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a URL that makes no sense.
    pub async fn scripts(&self, part: TablePart) -> Result<Vec<Script>, Error> {
        let tables = self.tables(part).await?;
        let numbered = (1..).zip(tables.scripts);
        let script = |(number, sql): (usize, &&'static str)| Script {
            name: format!("{}_{number}.sql", tables.name),
            sql: self.prefix().apply(sql).into_owned(),
        };
        Ok(numbered.map(script).collect())
    }
}
