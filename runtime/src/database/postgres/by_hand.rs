//! What persons decide on PostgreSQL: with a record of it, in one transaction.

use sqlx::{Postgres, Row};

use super::write::with_entry;
use super::{Checkout, now, state_in};
use crate::database::epoch_millis;
use crate::database::login::PATIENCE;
use crate::database::network::{Bound, RetryingPool};
use crate::database::row::Reader;
use crate::message::state::{Applied, Event, MessageState, mask};
use crate::store::{Action, AuditFilter, AuditRecord, Decision, StoreError};

const MOVE: &str = concat!(
    "UPDATE tm_message SET state = $2, payload = coalesce($4, payload), reason = coalesce($5, reason), ",
    "history = CASE WHEN $5 IS NULL THEN history ELSE ",
    with_entry!("history", "$2", "$5"),
    " END, ",
    "attempts = CASE $2 WHEN 1 THEN 0 ELSE attempts END, held_by = NULL, ",
    "due_at = CASE $2 WHEN 1 THEN greatest(deliver_at, ",
    now!(),
    ") END, finished_at = CASE $2 WHEN 2 THEN ",
    now!(),
    // A person wants it delivered, however late it is.
    " END, expires_at = CASE $2 WHEN 1 THEN NULL ELSE expires_at END WHERE id = $1 AND ",
    state_in!("", "$3")
);

const MAKE_DUE: &str = concat!(
    "UPDATE tm_message SET due_at = ",
    now!(),
    ", deliver_at = CASE WHEN state = 1 AND deliver_at > ",
    now!(),
    " THEN ",
    now!(),
    " ELSE deliver_at END WHERE id = $1 AND state IN (0, 1) AND held_by IS NULL"
);

pub(super) const RECORD: &str = concat!(
    "INSERT INTO tm_audit (id, at, message_id, action, actor, via, reason, evidence, subject) VALUES ($1, ",
    now!(),
    ", $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING"
);

pub(super) async fn decide(
    pool: &RetryingPool<Postgres>,
    decision: &Decision,
) -> Result<Applied, StoreError> {
    let work = |mut checkout: Checkout| async move {
        let applied = decide_in(&mut checkout, decision).await?;
        Ok((checkout, applied))
    };
    pool.transaction(PATIENCE, work).await
}

async fn decide_in(checkout: &mut Checkout, decision: &Decision) -> Result<Applied, sqlx::Error> {
    // Locked first: whatever a first try, or somebody else with the same record, has done is done then.
    let query = checkout.query("SELECT state FROM tm_message WHERE id = $1 FOR UPDATE").bind(decision.id);
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
    let record = checkout.query("SELECT FROM tm_audit WHERE id = $1").bind(decision.entry.id);
    Ok(record.fetch_optional(&mut **checkout).await?.is_some())
}

async fn move_by(checkout: &mut Checkout, event: Event, decision: &Decision) -> Result<bool, sqlx::Error> {
    let query = checkout
        .query(MOVE)
        .bind(decision.id)
        .bind(event.target().code())
        .bind(mask(event.sources()))
        .bind(&decision.payload)
        .bind(decision.note());
    Ok(query.execute(&mut **checkout).await?.rows_affected() == 1)
}

pub(super) fn bind_record(query: Bound<Postgres>, decision: &Decision) -> Bound<Postgres> {
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
}

pub(super) async fn record(pool: &RetryingPool<Postgres>, decision: &Decision) -> Result<(), StoreError> {
    pool.execute(RECORD, |query| bind_record(query, decision)).await.map(drop)
}

pub(super) async fn audit(
    pool: &RetryingPool<Postgres>,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<AuditRecord>, StoreError> {
    macro_rules! newest {
        ($about:literal) => {
            concat!(
                "SELECT id, at, message_id, subject, action, actor, via, reason, evidence FROM tm_audit WHERE ",
                $about,
                " ($2::text IS NULL OR actor = $2) AND ($3::bigint IS NULL OR at >= $3) AND id < $4 ",
                "ORDER BY id DESC LIMIT $5"
            )
        };
    }
    let sql = match filter.message_id {
        Some(_) => newest!("message_id = $1 AND"),
        None => newest!("$1::uuid IS NULL AND"),
    };
    let bind = |query: Bound<Postgres>| {
        query
            .bind(filter.message_id)
            .bind(&filter.user)
            .bind(filter.since.map(epoch_millis))
            .bind(filter.before.unwrap_or(uuid::Uuid::max()))
            .bind(i64::from(limit))
    };
    let rows = pool.fetch(sql, bind).await?;
    Ok(rows.iter().map(|row| Reader(row).audit_record()).collect::<Result<_, _>>()?)
}
