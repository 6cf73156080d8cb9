//! The books that must agree: what was done, what was booked for it, and what callers were told.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use uuid::Uuid;

/// Opens one of the service's databases.
pub(crate) async fn open(directory: &Path, name: &str) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join(name))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(std::time::Duration::from_secs(10));
    Ok(SqlitePool::connect_with(options).await?)
}

/// The tables of both sides. No table forbids what must not happen: the comparison shall see it.
pub(crate) async fn create_tables(business: &SqlitePool, accounting: &SqlitePool) -> anyhow::Result<()> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS done (action BLOB NOT NULL PRIMARY KEY, message_id BLOB NOT NULL)",
    )
    .execute(business)
    .await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS booked (action BLOB NOT NULL)").execute(accounting).await?;
    Ok(())
}

/// What callers were told, written so that it survives the process.
#[derive(Debug)]
pub(crate) struct Told(File);

impl Told {
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(directory.join("told.log"))?))
    }

    /// One line, in one write.
    pub(crate) fn note(&self, action: Uuid, took_effect: bool) -> anyhow::Result<()> {
        let word = if took_effect { "done" } else { "refused" };
        (&self.0).write_all(format!("{action} {word}\n").as_bytes())?;
        Ok(())
    }
}

/// How the books compare.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    done: usize,
    /// Done, and nothing booked for it.
    losses: Vec<Uuid>,
    /// Booked, and never done.
    phantoms: Vec<Uuid>,
    /// Booked more than once.
    doubles: Vec<Uuid>,
    /// A caller was told that it is done, and it is not; or the other way round.
    lies: Vec<Uuid>,
}

impl Comparison {
    pub(crate) async fn make(directory: &Path) -> anyhow::Result<Self> {
        let business = open(directory, "business.db").await?;
        let accounting = open(directory, "accounting.db").await?;
        let done: Vec<Uuid> = sqlx::query_scalar("SELECT action FROM done").fetch_all(&business).await?;
        let done: HashSet<Uuid> = done.into_iter().collect();
        let rows: Vec<Uuid> = sqlx::query_scalar("SELECT action FROM booked").fetch_all(&accounting).await?;
        let mut booked: HashMap<Uuid, usize> = HashMap::new();
        for action in rows {
            *booked.entry(action).or_default() += 1;
        }
        let mut lies = Vec::new();
        for line in BufReader::new(File::open(directory.join("told.log"))?).lines() {
            let line = line?;
            let Some((action, word)) = line.split_once(' ') else { anyhow::bail!("told.log: `{line}`") };
            let action = action.parse()?;
            if (word == "done") != done.contains(&action) {
                lies.push(action);
            }
        }
        Ok(Self {
            losses: done.iter().filter(|action| !booked.contains_key(action)).copied().collect(),
            phantoms: booked.keys().filter(|action| !done.contains(action)).copied().collect(),
            doubles: booked.iter().filter(|(_, count)| **count > 1).map(|(action, _)| *action).collect(),
            done: done.len(),
            lies,
        })
    }

    pub(crate) const fn agree(&self) -> bool {
        self.done > 0
            && self.losses.is_empty()
            && self.phantoms.is_empty()
            && self.doubles.is_empty()
            && self.lies.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} actions", self.done)?;
        for (what, which) in [
            ("losses", &self.losses),
            ("phantoms", &self.phantoms),
            ("double effects", &self.doubles),
            ("callers told otherwise", &self.lies),
        ] {
            write!(f, ", {} {what}", which.len())?;
            if let Some(first) = which.first() {
                write!(f, " (first: {first})")?;
            }
        }
        Ok(())
    }
}
