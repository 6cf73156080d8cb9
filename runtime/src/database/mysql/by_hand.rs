//! What persons decide on MySQL: with a record of it, in one transaction.

use sqlx::{MySql, Row};
use uuid::Uuid;

use super::write::with_entry;
use super::{Checkout, late_now};
use crate::database::epoch_millis;
use crate::database::login::PATIENCE;
use crate::database::network::{Bound, RetryingPool};
use crate::database::row::Reader;
use crate::message::state::{Applied, Event, MessageState, mask};
use crate::store::{Action, AuditFilter, AuditRecord, Decision, StoreError};

const MOVE: &str = concat!(
    "UPDATE tm_message SET payload = coalesce(?, payload), history = IF(? IS NULL, history, ",
    with_entry!("?"),
    "), reason = coalesce(?, reason), attempts = IF(? = 1, 0, attempts), ",
    "held_by = NULL, due_at = IF(? = 1, greatest(coalesce(deliver_at, 0), ",
    late_now!(),
    "), NULL), finished_at = IF(? = 2, ",
    late_now!(),
    // A person wants it delivered, however late it is.
    ", NULL), expires_at = IF(? = 1, NULL, expires_at), state = ? WHERE id = ? AND (1 << state) & ? <> 0"
);

const MAKE_DUE: &str = concat!(
    "UPDATE tm_message SET due_at = ",
    late_now!(),
    ", deliver_at = CASE WHEN state = 1 AND deliver_at > ",
    late_now!(),
    " THEN ",
    late_now!(),
    " ELSE deliver_at END WHERE id = ? AND state IN (0, 1) AND held_by IS NULL"
);

pub(super) const RECORD: &str = concat!(
    // Not ON DUPLICATE KEY: that needs the right to update, which nobody should have.
    "INSERT INTO tm_audit (id, at, message_id, action, actor, via, reason, evidence, subject) SELECT ?, ",
    late_now!(),
    ", ?, ?, ?, ?, ?, ?, ? FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM tm_audit WHERE id = ?)"
);

pub(super) async fn decide(pool: &RetryingPool<MySql>, decision: &Decision) -> Result<Applied, StoreError> {
    let work = |mut checkout: Checkout| async move {
        let applied = decide_in(&mut checkout, decision).await?;
        Ok((checkout, applied))
    };
    pool.transaction(PATIENCE, work).await
}

async fn decide_in(checkout: &mut Checkout, decision: &Decision) -> Result<Applied, sqlx::Error> {
    // Locked first: whatever a first try, or somebody else with the same record, has done is done then.
    let query = checkout.query("SELECT state FROM tm_message WHERE id = ? FOR UPDATE").bind(decision.id);
    let row = query.fetch_optional(&mut **checkout).await?;
    let code: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    if is_recorded(checkout, decision).await? {
        return Ok(Applied::Moved);
    }
    let Some(event) = decision.action.event() else { return Ok(Applied::Missing) };
    let mut moved = move_by(checkout, event, decision).await?;
    if !moved && decision.action == Action::Retry {
        let query = checkout.query(MAKE_DUE).bind(decision.id);
        moved = query.execute(&mut **checkout).await?.rows_affected() == 1;
    }
    if moved {
        bind_record(checkout.query(RECORD), decision).execute(&mut **checkout).await?;
        return Ok(Applied::Moved);
    }
    Ok(code.and_then(MessageState::from_code).map_or(Applied::Missing, |state| event.verdict(state)))
}

async fn is_recorded(checkout: &mut Checkout, decision: &Decision) -> Result<bool, sqlx::Error> {
    let record = checkout.query("SELECT 1 FROM tm_audit WHERE id = ?").bind(decision.entry.id);
    Ok(record.fetch_optional(&mut **checkout).await?.is_some())
}

async fn move_by(checkout: &mut Checkout, event: Event, decision: &Decision) -> Result<bool, sqlx::Error> {
    let (note, code) = (decision.note(), event.target().code());
    let query = checkout.query(MOVE).bind(&decision.payload).bind(&note).bind(code).bind(&note).bind(&note);
    let query = (0..5).fold(query, |query, _| query.bind(event.target().code()));
    let query = query.bind(decision.id).bind(mask(event.sources()));
    Ok(query.execute(&mut **checkout).await?.rows_affected() == 1)
}

pub(super) fn bind_record(query: Bound<MySql>, decision: &Decision) -> Bound<MySql> {
    let entry = &decision.entry;
    query
        .bind(entry.id)
        .bind(decision.id)
        .bind(decision.action.name())
        .bind(&entry.actor.user)
        .bind(&entry.actor.via)
        .bind(entry.reason.as_deref().unwrap_or_default())
        .bind(entry.evidence.as_deref())
        .bind(entry.subject.as_deref())
        .bind(entry.id)
}

pub(super) async fn record(pool: &RetryingPool<MySql>, decision: &Decision) -> Result<(), StoreError> {
    pool.execute(RECORD, |query| bind_record(query, decision)).await.map(drop)
}

macro_rules! newest {
    ($index:literal, $about:literal) => {
        concat!(
            "SELECT id, at, message_id, subject, action, actor, via, reason, evidence FROM tm_audit ",
            $index,
            " WHERE ",
            $about,
            " AND (? IS NULL OR actor = ?) AND (? IS NULL OR at >= ?) AND id < ? ORDER BY id DESC LIMIT ?"
        )
    };
}

pub(super) async fn audit(
    pool: &RetryingPool<MySql>,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    // About a message, or all, whose order is that of the ids.
    let sql = match filter.message_id {
        Some(_) => newest!("FORCE INDEX (tm_audit_message)", "message_id = ?"),
        None => newest!("FORCE INDEX (PRIMARY)", "? IS NULL"),
    };
    let since = filter.since.map(epoch_millis);
    let bind = |query: Bound<MySql>| {
        query
            .bind(filter.message_id)
            .bind(&filter.user)
            .bind(&filter.user)
            .bind(since)
            .bind(since)
            .bind(filter.before.unwrap_or(Uuid::max()))
            .bind(i64::from(limit))
    };
    let rows = pool.fetch(sql, bind).await?;
    Ok(rows.iter().map(|row| Reader(row).audit_record()).collect::<Result<_, _>>()?)
}
