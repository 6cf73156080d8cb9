//! The message store on SQLite: the verbs of the protocol and the workers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};

use super::schema::{self, MESSAGE};
use super::session::{pool, reach, writer};
use super::write::{self, columns, id_list};
use super::{PATIENCE, begin, now, patiently};
use crate::database::millis;
use crate::database::row::Reader;
use crate::database::write_queue::WriteQueue;
use crate::error::{Error, ErrorKind};
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, Half, MessageId};
use crate::store::{Claim, ClaimLimits, Flush, Hold, Release, Renewed, Store, StoreError, Transition};

/// A message store in a SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    pub(super) writer: SqlitePool,
    /// Its commits reach the disk with the next of the others.
    pub(super) relaxed: SqlitePool,
    pub(super) queue: Arc<WriteQueue>,
    /// Renewals never queue behind other writes of this process.
    renewer: SqlitePool,
    pub(super) reader: SqlitePool,
}

/// Which names in the list `?1` have rows that may be taken up now; and those rows of the name `?1`. From a holder
/// only if its lease lapsed before `?2`.
macro_rules! due {
    ($whose:literal) => {
        (
            concat!(
                "SELECT a.value FROM json_each(?1) a WHERE EXISTS (SELECT 1 FROM tm_message WHERE ",
                $whose,
                " = a.value AND due_at <= ",
                now!(),
                " AND (held_by IS NULL OR due_at <= ?2))"
            ),
            concat!(
                "SELECT ",
                columns!(),
                " FROM tm_message WHERE ",
                $whose,
                " = ?1 AND due_at <= ",
                now!(),
                " AND (held_by IS NULL OR due_at <= ?2) ORDER BY due_at LIMIT ?3"
            ),
        )
    };
}

const HALVES: (&str, &str) = due!("state = 0 AND answered_by");
const CONFIRMED: (&str, &str) = due!("state = 1 AND service");

impl SqliteStore {
    pub(crate) async fn open(options: SqliteConnectOptions) -> Result<Self, Error> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE);
        let name = options.get_filename().to_string_lossy().into_owned();
        let store = Self {
            queue: WriteQueue::of(options.get_filename()),
            writer: writer(options.clone()),
            relaxed: writer(options.clone().synchronous(SqliteSynchronous::Normal)),
            renewer: writer(options.clone()),
            reader: pool(options, 4),
        };
        reach(&store.writer).await.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, format!("the message store `{name}` could not be opened"))
                .with_source(cause)
        })?;
        Ok(store)
    }

    async fn insert(&self, halves: &[&Half], state: MessageState, hold: Hold) -> Result<(), StoreError> {
        let _turn = self.queue.take(PATIENCE).await?;
        let insertion = write::Insertion::new(halves, state, hold);
        patiently(|| insertion.query().execute(&self.writer)).await?;
        Ok(())
    }

    /// Takes what is due of each of `names`.
    async fn claim(
        &self,
        (any_due, due): (&'static str, &'static str),
        names: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        // A look without the write lock first: most of the time nothing is due.
        let busy: Vec<String> = sqlx::query_scalar(any_due)
            .bind(serde_json::json!(names).to_string())
            .bind(limits.lapsed_before.map(millis))
            .fetch_all(&self.reader)
            .await?;
        let mut claim = Claim::default();
        if busy.is_empty() {
            return Ok(claim);
        }
        let mut bytes = limits.bytes;
        // An even share for each, so that one's backlog does not keep the others waiting.
        let share = (limits.rows as usize / busy.len()).max(1);
        let _turn = self.queue.take(PATIENCE).await?;
        let mut tx = begin(&self.writer).await?;
        for name in busy {
            let select = sqlx::query(due)
                .bind(name)
                .bind(limits.lapsed_before.map(millis))
                .bind(i64::try_from(share).unwrap_or(i64::MAX));
            Self::take(&mut tx, select, &mut bytes, hold, &mut claim).await?;
        }
        tx.commit().await?;
        Ok(claim)
    }

    /// Takes rows that `select` found: as many as fit, in one transaction with the look.
    async fn take(
        tx: &mut SqliteConnection,
        select: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
        bytes: &mut usize,
        hold: Hold,
        claim: &mut Claim,
    ) -> Result<(), StoreError> {
        let mut found = Vec::new();
        {
            let mut rows = select.fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let before = claim.rows.len();
                Reader(&row).claimed(claim);
                let size = claim.rows.get(before).map_or(0, |row| row.half.message.payload.len());
                if size > *bytes && before > 0 {
                    claim.rows.pop();
                    break;
                }
                *bytes = bytes.saturating_sub(size);
                found.extend(Reader(&row).id());
            }
        }
        sqlx::query(concat!(
            "UPDATE tm_message SET held_by = ?1, due_at = ",
            now!(),
            " + ?2 + CASE state WHEN 0 THEN check_after ELSE 0 END WHERE id IN (SELECT unhex(value) FROM json_each(?3))"
        ))
        .bind(hold.token)
        .bind(millis(hold.lease))
        .bind(id_list(&found))
        .execute(tx)
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn file(&self) -> Option<&Path> {
        Some(self.queue.file())
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(MESSAGE, &self.writer).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        schema::check(MESSAGE, &self.reader).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        let file: String = sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .fetch_one(&self.reader)
            .await?;
        if !file.is_empty() {
            return Ok(Vec::new());
        }
        Err(StoreError::Refused(
            "an in-memory SQLite database can't keep messages over a crash: use a file, or \
             `transactional_message::testing` in tests"
                .into(),
        ))
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn insert_halves(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        self.insert(halves, MessageState::Half, hold).await
    }

    async fn insert_confirmed(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        self.insert(halves, MessageState::Confirmed, hold.beyond_delays(halves)).await
    }

    async fn apply(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
        flush: Flush,
    ) -> Result<Vec<Applied>, StoreError> {
        let writer = match flush {
            Flush::Now => &self.writer,
            Flush::Later => &self.relaxed,
        };
        let _turn = self.queue.take(PATIENCE).await?;
        write::apply(writer, event, from, transitions, hold).await
    }

    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError> {
        let _turn = self.queue.take_urgently().await;
        let sql = concat!(
            "UPDATE tm_message SET held_by = ?1, attempts = CASE state WHEN 0 THEN 0 ELSE attempts END, due_at = ",
            now!(),
            " + ?2 WHERE id IN (SELECT unhex(value) FROM json_each(?3)) ",
            "AND (state = 0 OR (state = 1 AND held_by = ?1)) RETURNING id"
        );
        let list = id_list(ids);
        let renew = || {
            let query = sqlx::query_scalar(sql).bind(hold.token).bind(millis(hold.lease)).bind(&list);
            query.fetch_all(&self.renewer)
        };
        let renewed = patiently(renew).await?;
        let clock: i64 = sqlx::query_scalar(concat!("SELECT ", now!())).fetch_one(&self.renewer).await?;
        Ok(Renewed {
            ids: renewed,
            locked: Vec::new(),
            database_clock: Duration::from_millis(clock.unsigned_abs()),
        })
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let _turn = self.queue.take(PATIENCE).await?;
        write::release(&self.writer, releases).await
    }

    async fn claim_halves(
        &self,
        askable: &[AnsweredBy],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        let names: Vec<String> = askable.iter().map(ToString::to_string).collect();
        self.claim(HALVES, &names, limits, hold).await
    }

    async fn enter(&self, id: MessageId, hold: Hold) -> Result<bool, StoreError> {
        let _turn = self.queue.take(PATIENCE).await?;
        let sql = concat!(
            "UPDATE tm_message SET attempts = attempts + 1, due_at = ",
            now!(),
            " + ?3 + check_after WHERE id = ?1 AND held_by = ?2 AND state = 0"
        );
        let enter =
            || sqlx::query(sql).bind(id).bind(hold.token).bind(millis(hold.lease)).execute(&self.writer);
        Ok(patiently(enter).await?.rows_affected() > 0)
    }

    async fn claim_confirmed(
        &self,
        services: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        self.claim(CONFIRMED, services, limits, hold).await
    }

    async fn close(&self) {
        self.reader.close().await;
        self.renewer.close().await;
        self.relaxed.close().await;
        self.writer.close().await;
    }
}
