//! Searching the message store on PostgreSQL.

use sqlx::Postgres;

use super::{decoded, now};
use crate::database::network::{Bound, RetryingPool};
use crate::database::row::Reader;
use crate::message::MessageId;
use crate::message::state::MessageState;
use crate::store::{Candidates, Contents, HistoryEntry, MessageInfo, SCAN, SCAN_AND_NEW, Scan, StoreError};

/// The columns that an operator is shown.
macro_rules! summary {
    () => {
        concat!(
            "id, call_id, state, service, function, answered_by, exchange, routing_key, message_type, content_type, ",
            "octet_length(payload)::bigint AS payload_bytes, message_key, attempts, created_at, due_at, held_by, ",
            "check_after, deliver_at, expires_at, finished_at, reason, ",
            now!(),
            " AS read_at, greatest(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use summary;

/// The ids of the candidates, between `$1` and `$2`; as a list, which no planner takes for most of the table.
macro_rules! all {
    ($which:literal) => {
        concat!("SELECT id FROM tm_message WHERE id >= $1 AND id < $2 ORDER BY id DESC ", $which)
    };
}

/// The same of a state that waits for a person, by its index. The bounds are compared as rows: of two ids alone the planner, who
/// plans for any, takes what is between them for so little that it would read the primary key, and with it the table.
macro_rules! waiting {
    ($state:literal, $which:literal) => {
        concat!(
            "SELECT id FROM tm_message WHERE state = ",
            $state,
            " AND (state, id) >= (",
            $state,
            ", $1) AND (state, id) < (",
            $state,
            ", $2) ORDER BY state DESC, id DESC ",
            $which
        )
    };
}

macro_rules! found {
    ($ids:expr) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE id = ANY(ARRAY(",
            $ids,
            ")) AND id >= $1 AND id < $2 AND $3 > 0 AND ($5::bigint IS NULL OR state = $5) AND ($6::text IS NULL OR service = $6) ",
            "AND ($7::text IS NULL OR function = $7 OR right(function, length($7) + 2) = '::' || $7) ",
            "AND ($8::text IS NULL OR exchange = $8) AND ($9::text IS NULL OR message_key = $9) ",
            "AND ($10::text IS NULL OR message_type = $10) ",
            "AND ($11::text IS NULL OR position(lower($11) in lower(reason)) > 0) ",
            "AND ($12::text IS NULL OR answered_by = $12 OR answered_by LIKE 'handler:@%' ",
            "AND 'handler:' || substr(answered_by, strpos(substr(answered_by, 10), ':') + 10) = $12) ",
            "ORDER BY id DESC LIMIT $4"
        )
    };
}

/// Reads the index of an unfinished state, which has what is few.
macro_rules! few {
    ($state:literal) => {
        concat!("SELECT id FROM tm_message WHERE state = ", $state, " LIMIT $3")
    };
}

/// What finds the candidates; with what finds the last of them, where there may be more.
const fn statements(candidates: Candidates) -> (&'static str, &'static str) {
    match candidates {
        Candidates::Call(_) => {
            (found!("SELECT id FROM tm_message WHERE id = $13 OR (call_id = $13 AND call_id <> id)"), "")
        }
        Candidates::Few(MessageState::Half) => (found!(few!("0")), ""),
        Candidates::Few(MessageState::Confirmed) => (found!(few!("1")), ""),
        Candidates::Few(MessageState::Parked) => (found!(few!("4")), ""),
        Candidates::Few(MessageState::Dead) => (found!(few!("5")), ""),
        Candidates::Waiting(MessageState::Parked) => {
            (found!(waiting!("4", "LIMIT $3")), waiting!("4", "LIMIT 1 OFFSET $3 - 1"))
        }
        Candidates::Waiting(MessageState::Dead) => {
            (found!(waiting!("5", "LIMIT $3")), waiting!("5", "LIMIT 1 OFFSET $3 - 1"))
        }
        Candidates::Few(_) | Candidates::Waiting(_) | Candidates::Newest => {
            (found!(all!("LIMIT $3")), all!("LIMIT 1 OFFSET $3 - 1"))
        }
    }
}

pub(super) async fn contents(
    pool: &RetryingPool<Postgres>,
    id: MessageId,
) -> Result<Option<Contents>, StoreError> {
    let sql = "SELECT headers, payload FROM tm_message WHERE id = $1";
    pool.fetch(sql, |query| query.bind(id)).await?.first().map(|row| Reader(row).contents()).transpose()
}

pub(super) async fn history(
    pool: &RetryingPool<Postgres>,
    id: MessageId,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let sql = "SELECT history FROM tm_message WHERE id = $1";
    let rows = pool.fetch(sql, |query| query.bind(id)).await?;
    Ok(rows.first().map(|row| Reader(row).history()).transpose()?.unwrap_or_default())
}

pub(super) async fn are_few(pool: &RetryingPool<Postgres>, state: MessageState) -> Result<bool, StoreError> {
    // The state is written out, so that its partial index serves.
    macro_rules! count {
        ($state:literal) => {
            concat!(
                "SELECT count(*) FROM (SELECT 1 FROM tm_message WHERE state = ",
                $state,
                " LIMIT $1 + 1) few"
            )
        };
    }
    let sql = match state {
        MessageState::Half => count!("0"),
        MessageState::Confirmed => count!("1"),
        MessageState::Parked => count!("4"),
        MessageState::Dead => count!("5"),
        MessageState::Cancelled | MessageState::Delivered | MessageState::Expired => return Ok(false),
    };
    let rows: Vec<(i64,)> = decoded(&pool.fetch(sql, |query| query.bind(i64::from(SCAN))).await?)?;
    Ok(rows.iter().all(|(count,)| *count <= i64::from(SCAN)))
}

pub(super) async fn scan(
    pool: &RetryingPool<Postgres>,
    scan: &Scan<'_>,
) -> Result<Vec<MessageInfo>, StoreError> {
    let filter = scan.filter;
    let call = match scan.candidates {
        Candidates::Call(call) => Some(call),
        _ => None,
    };
    let bind = |query: Bound<Postgres>| {
        let query = query
            .bind(scan.from)
            .bind(scan.before)
            .bind(i64::from(SCAN_AND_NEW))
            .bind(i64::from(scan.limit))
            .bind(filter.state.map(MessageState::code))
            .bind(&filter.service)
            .bind(&filter.function)
            .bind(&filter.exchange)
            .bind(&filter.business_key)
            .bind(&filter.message_type)
            .bind(&filter.reason)
            .bind(&filter.answered_by);
        match call {
            Some(call) => query.bind(call),
            None => query,
        }
    };
    let rows = pool.fetch(statements(scan.candidates).0, bind).await?;
    rows.iter().map(|row| Reader(row).summary()).collect()
}

pub(super) async fn scan_end(
    pool: &RetryingPool<Postgres>,
    scan: &Scan<'_>,
) -> Result<Option<MessageId>, StoreError> {
    let bind = |query: Bound<Postgres>| query.bind(scan.from).bind(scan.before).bind(i64::from(SCAN));
    let rows = pool.fetch(statements(scan.candidates).1, bind).await?;
    Ok(rows.first().map(|row| Reader(row).id()).transpose()?)
}
