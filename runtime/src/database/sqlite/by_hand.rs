//! What persons decide on SQLite: with a record of it, in one transaction.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::store::SqliteStore;
use super::write::with_entry;
use super::{PATIENCE, begin, now, patiently};
use crate::database::epoch_millis;
use crate::database::row::Reader;
use crate::message::state::{Applied, Event, MessageState, mask};
use crate::store::{Action, AuditFilter, AuditRecord, Decision, StoreError};

const MOVE: &str = concat!(
    "UPDATE tm_message SET state = ?2, payload = coalesce(?4, payload), reason = coalesce(?5, reason), ",
    "history = CASE WHEN ?5 IS NULL THEN history ELSE ",
    with_entry!("history", "?2", "?5"),
    " END, ",
    "attempts = CASE ?2 WHEN 1 THEN 0 ELSE attempts END, held_by = NULL, ",
    "due_at = CASE ?2 WHEN 1 THEN max(coalesce(deliver_at, 0), ",
    now!(),
    ") END, finished_at = CASE ?2 WHEN 2 THEN ",
    now!(),
    // A person wants it delivered, however late it is.
    " END, expires_at = CASE ?2 WHEN 1 THEN NULL ELSE expires_at END WHERE id = ?1 AND ",
    "(1 << state) & ?3 <> 0"
);

const MAKE_DUE: &str = concat!(
    "UPDATE tm_message SET due_at = ",
    now!(),
    ", deliver_at = CASE WHEN state = 1 AND deliver_at > ",
    now!(),
    " THEN ",
    now!(),
    " ELSE deliver_at END WHERE id = ?1 AND state IN (0, 1) AND held_by IS NULL"
);

pub(super) const RECORD: &str = concat!(
    "INSERT INTO tm_audit (id, at, message_id, action, actor, via, reason, evidence, subject) VALUES (?1, ",
    now!(),
    ", ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING"
);

pub(super) async fn decide(store: &SqliteStore, decision: &Decision) -> Result<Applied, StoreError> {
    let _turn = store.queue.take(PATIENCE).await?;
    let mut tx = begin(&store.writer).await?;
    let applied = decide_in(&mut tx, decision).await?;
    tx.commit().await?;
    Ok(applied)
}

async fn decide_in(tx: &mut SqliteConnection, decision: &Decision) -> Result<Applied, sqlx::Error> {
    // Somebody else with the same record has done it.
    let query = sqlx::query("SELECT 1 FROM tm_audit WHERE id = ?1").bind(decision.entry.id);
    if query.fetch_optional(&mut *tx).await?.is_some() {
        return Ok(Applied::Moved);
    }
    let Some(event) = decision.action.event() else { return Ok(Applied::Missing) };
    let mut moved = move_by(tx, event, decision).await?;
    if !moved && decision.action == Action::Retry {
        moved = sqlx::query(MAKE_DUE).bind(decision.id).execute(&mut *tx).await?.rows_affected() == 1;
    }
    if moved {
        entry(decision).execute(tx).await?;
        return Ok(Applied::Moved);
    }
    let query = sqlx::query_scalar("SELECT state FROM tm_message WHERE id = ?1").bind(decision.id);
    let code: Option<i64> = query.fetch_optional(tx).await?;
    Ok(code.and_then(MessageState::from_code).map_or(Applied::Missing, |state| event.verdict(state)))
}

async fn move_by(tx: &mut SqliteConnection, event: Event, decision: &Decision) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(MOVE)
        .bind(decision.id)
        .bind(event.target().code())
        .bind(mask(event.sources()))
        .bind(&decision.payload)
        .bind(decision.note());
    Ok(query.execute(tx).await?.rows_affected() == 1)
}

pub(super) fn entry(decision: &Decision) -> Query<'_, Sqlite, SqliteArguments> {
    let entry = &decision.entry;
    sqlx::query(RECORD)
        .bind(entry.id)
        .bind(decision.id)
        .bind(decision.action.name())
        .bind(&entry.actor.user)
        .bind(&entry.actor.via)
        .bind(entry.reason.as_deref().unwrap_or_default())
        .bind(entry.evidence.as_deref())
        .bind(entry.subject.as_deref())
}

pub(super) async fn record(store: &SqliteStore, decision: &Decision) -> Result<(), StoreError> {
    let _turn = store.queue.take(PATIENCE).await?;
    patiently(|| entry(decision).execute(&store.writer)).await.map(drop)
}

pub(super) async fn audit(
    pool: &SqlitePool,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    macro_rules! newest {
        ($about:literal) => {
            concat!(
                "SELECT id, at, message_id, subject, action, actor, via, reason, evidence FROM tm_audit WHERE ",
                $about,
                " (?2 IS NULL OR actor = ?2) AND (?3 IS NULL OR at >= ?3) AND id < ?4 ORDER BY id DESC LIMIT ?5"
            )
        };
    }
    let sql = match filter.message_id {
        Some(_) => newest!("message_id = ?1 AND"),
        None => newest!("?1 IS NULL AND"),
    };
    let rows = sqlx::query(sql)
        .bind(filter.message_id)
        .bind(&filter.user)
        .bind(filter.since.map(epoch_millis))
        .bind(filter.before.unwrap_or(Uuid::max()))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    Ok(rows.iter().map(|row| Reader(row).audit_record()).collect::<Result<_, _>>()?)
}
