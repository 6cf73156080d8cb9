//! Searching the message store on MySQL.

use sqlx::MySql;

use super::{decoded, now};
use crate::database::network::{Bound, RetryingPool};
use crate::database::row::Reader;
use crate::message::MessageId;
use crate::message::state::MessageState;
use crate::store::{
    Candidates, Contents, Filter, HistoryEntry, MessageInfo, SCAN, SCAN_AND_NEW, Scan, StoreError,
};

/// The columns that an operator is shown.
macro_rules! summary {
    () => {
        concat!(
            "id, call_id, state, service, `function`, answered_by, exchange, routing_key, message_type, content_type, ",
            "CAST(LENGTH(payload) AS SIGNED) AS payload_bytes, message_key, attempts, created_at, due_at, held_by, ",
            "check_after, deliver_at, expires_at, finished_at, reason, ",
            now!(),
            " AS read_at, greatest(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use summary;

/// The ids of the candidates: `?` are where they begin and end, and how many they are.
macro_rules! candidates {
    ($from:literal, $which:literal) => {
        concat!("SELECT id FROM tm_message ", $from, "id >= ? AND id < ? ORDER BY id DESC ", $which)
    };
}

/// By their ids alone at first: a derived table with payloads would be written to disk.
macro_rules! found {
    ($ids:expr) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM (",
            $ids,
            ") c STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) USING (id) WHERE id >= ? AND id < ? ",
            "AND (? IS NULL OR state = ?) AND (? IS NULL OR service = ?) ",
            "AND (? IS NULL OR `function` = ? OR RIGHT(`function`, CHAR_LENGTH(?) + 2) = CONCAT('::', ?)) ",
            "AND (? IS NULL OR exchange = ?) AND (? IS NULL OR message_key = ?) ",
            "AND (? IS NULL OR message_type = ?) AND (? IS NULL OR LOCATE(LOWER(?), LOWER(reason)) > 0) ",
            "AND (? IS NULL OR answered_by = ? OR (answered_by LIKE 'handler:@%' ",
            "AND CONCAT('handler:', SUBSTRING(answered_by, LOCATE(':', answered_by, 10) + 1)) = ?)) ",
            "ORDER BY id DESC LIMIT ?"
        )
    };
}

/// What finds the candidates; with what finds the last of them, where there may be more.
macro_rules! newest {
    ($from:literal) => {
        (found!(candidates!($from, "LIMIT ?")), candidates!($from, "LIMIT ?, 1"))
    };
}

const fn statements(candidates: Candidates) -> (&'static str, &'static str) {
    match candidates {
        Candidates::Call(_) => (found!("SELECT id FROM tm_message WHERE call_id = ?"), ""),
        Candidates::Few(_) => (found!("SELECT id FROM tm_message WHERE state = ? LIMIT ?"), ""),
        // That index has a state's unfinished rows in the order of their ids, which the optimizer does not see by itself.
        Candidates::Waiting(MessageState::Parked) => {
            newest!("FORCE INDEX (tm_message_finished) WHERE state = 4 AND finished_at IS NULL AND ")
        }
        Candidates::Waiting(MessageState::Dead) => {
            newest!("FORCE INDEX (tm_message_finished) WHERE state = 5 AND finished_at IS NULL AND ")
        }
        Candidates::Waiting(_) | Candidates::Newest => newest!("FORCE INDEX (PRIMARY) WHERE "),
    }
}

pub(super) async fn contents(
    pool: &RetryingPool<MySql>,
    id: MessageId,
) -> Result<Option<Contents>, StoreError> {
    let sql = "SELECT headers, payload FROM tm_message WHERE id = ?";
    pool.fetch(sql, |query| query.bind(id)).await?.first().map(|row| Reader(row).contents()).transpose()
}

pub(super) async fn history(
    pool: &RetryingPool<MySql>,
    id: MessageId,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let sql = "SELECT history FROM tm_message WHERE id = ?";
    let rows = pool.fetch(sql, |query| query.bind(id)).await?;
    Ok(rows.first().map(|row| Reader(row).history()).transpose()?.unwrap_or_default())
}

pub(super) async fn are_few(pool: &RetryingPool<MySql>, state: MessageState) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM tm_message WHERE state = ? LIMIT ?) few";
    let bind = |query: Bound<MySql>| query.bind(state.code()).bind(i64::from(SCAN) + 1);
    let rows: Vec<(i64,)> = decoded(&pool.fetch(sql, bind).await?)?;
    Ok(rows.iter().all(|(count,)| *count <= i64::from(SCAN)))
}

pub(super) async fn scan(
    pool: &RetryingPool<MySql>,
    scan: &Scan<'_>,
) -> Result<Vec<MessageInfo>, StoreError> {
    let Filter { service, function, exchange, business_key, message_type, reason, answered_by, .. } =
        scan.filter;
    let state = scan.filter.state.map(MessageState::code);
    let bind = |query: Bound<MySql>| {
        let query = match scan.candidates {
            Candidates::Call(call) => query.bind(call),
            Candidates::Few(state) => query.bind(state.code()).bind(i64::from(SCAN_AND_NEW)),
            Candidates::Waiting(_) | Candidates::Newest => bounds(query, scan).bind(i64::from(SCAN_AND_NEW)),
        };
        let query = bounds(query, scan).bind(state).bind(state).bind(service).bind(service);
        let query = (0..4).fold(query, |query, _| query.bind(function));
        let query = [exchange, business_key, message_type, reason]
            .into_iter()
            .fold(query, |query, text| query.bind(text).bind(text));
        (0..3).fold(query, |query, _| query.bind(answered_by)).bind(i64::from(scan.limit))
    };
    let rows = pool.fetch(statements(scan.candidates).0, bind).await?;
    rows.iter().map(|row| Reader(row).summary()).collect()
}

fn bounds(query: Bound<MySql>, scan: &Scan<'_>) -> Bound<MySql> {
    query.bind(scan.from).bind(scan.before)
}

pub(super) async fn scan_end(
    pool: &RetryingPool<MySql>,
    scan: &Scan<'_>,
) -> Result<Option<MessageId>, StoreError> {
    let bind = |query: Bound<MySql>| bounds(query, scan).bind(i64::from(SCAN) - 1);
    let rows = pool.fetch(statements(scan.candidates).1, bind).await?;
    Ok(rows.first().map(|row| Reader(row).id()).transpose()?)
}
