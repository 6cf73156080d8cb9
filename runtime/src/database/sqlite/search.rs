//! Searching the message store on SQLite.

use sqlx::SqlitePool;

use super::now;
use crate::database::row::Reader;
use crate::message::MessageId;
use crate::message::state::MessageState;
use crate::store::{Candidates, Contents, HistoryEntry, MessageInfo, SCAN, SCAN_AND_NEW, Scan, StoreError};

/// The columns that an operator is shown.
macro_rules! summary {
    () => {
        concat!(
            "id, call_id, state, service, function, answered_by, exchange, routing_key, message_type, content_type, ",
            "length(payload) AS payload_bytes, message_key, attempts, created_at, due_at, held_by, ",
            "check_after, deliver_at, expires_at, finished_at, reason, ",
            now!(),
            " AS read_at, max(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use summary;

/// The ids of the candidates, between `?1` and `?2`; found first.
macro_rules! candidates {
    ($from:literal, $which:literal) => {
        concat!("SELECT id FROM tm_message WHERE ", $from, "id >= ?1 AND id < ?2 ORDER BY id DESC ", $which)
    };
}

macro_rules! found {
    ($ids:expr) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE id IN (",
            $ids,
            ") AND id >= ?1 AND id < ?2 AND ?3 > 0 AND (?5 IS NULL OR state = ?5) AND (?6 IS NULL OR service = ?6) ",
            "AND (?7 IS NULL OR function = ?7 OR substr(function, -length(?7) - 2) = '::' || ?7) ",
            "AND (?8 IS NULL OR exchange = ?8) AND (?9 IS NULL OR message_key = ?9) ",
            "AND (?10 IS NULL OR message_type = ?10) ",
            "AND (?11 IS NULL OR instr(lower(reason), lower(?11)) > 0) ",
            "AND (?12 IS NULL OR answered_by = ?12 OR answered_by LIKE 'handler:@%' ",
            "AND 'handler:' || substr(answered_by, instr(substr(answered_by, 10), ':') + 10) = ?12) ",
            "ORDER BY id DESC LIMIT ?4"
        )
    };
}

/// Reads the index of an unfinished state, which has what is few. SQLite takes that of two states only where both are named
/// as the index names them.
macro_rules! few {
    ($state:literal) => {
        concat!("SELECT id FROM tm_message WHERE state = ", $state, " LIMIT ?3")
    };
}

/// What finds the candidates; with what finds the last of them, where there may be more.
macro_rules! newest {
    ($from:literal) => {
        (found!(candidates!($from, "LIMIT ?3")), candidates!($from, "LIMIT 1 OFFSET ?3 - 1"))
    };
}

const fn statements(candidates: Candidates) -> (&'static str, &'static str) {
    match candidates {
        Candidates::Call(_) => {
            (found!("SELECT id FROM tm_message WHERE id = ?13 OR (call_id = ?13 AND call_id <> id)"), "")
        }
        Candidates::Few(MessageState::Half) => (found!(few!("0")), ""),
        Candidates::Few(MessageState::Confirmed) => (found!(few!("1")), ""),
        Candidates::Few(MessageState::Parked) => (found!(few!("4 AND state IN (4, 5)")), ""),
        Candidates::Few(MessageState::Dead) => (found!(few!("5 AND state IN (4, 5)")), ""),
        Candidates::Waiting(MessageState::Parked) => newest!("state IN (4, 5) AND state = 4 AND "),
        Candidates::Waiting(MessageState::Dead) => newest!("state IN (4, 5) AND state = 5 AND "),
        Candidates::Few(_) | Candidates::Waiting(_) | Candidates::Newest => newest!(""),
    }
}

pub(super) async fn contents(pool: &SqlitePool, id: MessageId) -> Result<Option<Contents>, StoreError> {
    let query = sqlx::query("SELECT headers, payload FROM tm_message WHERE id = ?1").bind(id);
    query.fetch_optional(pool).await?.map(|row| Reader(&row).contents()).transpose()
}

pub(super) async fn history(pool: &SqlitePool, id: MessageId) -> Result<Vec<HistoryEntry>, StoreError> {
    let query = sqlx::query("SELECT history FROM tm_message WHERE id = ?1").bind(id);
    let row = query.fetch_optional(pool).await?;
    Ok(row.map(|row| Reader(&row).history()).transpose()?.unwrap_or_default())
}

pub(super) async fn are_few(pool: &SqlitePool, state: MessageState) -> Result<bool, StoreError> {
    // The state is written out, so that its partial index serves.
    macro_rules! count {
        ($state:literal) => {
            concat!("SELECT count(*) FROM (SELECT 1 FROM tm_message WHERE state = ", $state, " LIMIT ?1 + 1)")
        };
    }
    let sql = match state {
        MessageState::Half => count!("0"),
        MessageState::Confirmed => count!("1"),
        MessageState::Parked => count!("4 AND state IN (4, 5)"),
        MessageState::Dead => count!("5 AND state IN (4, 5)"),
        MessageState::Cancelled | MessageState::Delivered | MessageState::Expired => return Ok(false),
    };
    let count: i64 = sqlx::query_scalar(sql).bind(i64::from(SCAN)).fetch_one(pool).await?;
    Ok(count <= i64::from(SCAN))
}

pub(super) async fn scan(pool: &SqlitePool, scan: &Scan<'_>) -> Result<Vec<MessageInfo>, StoreError> {
    let filter = scan.filter;
    let query = sqlx::query(statements(scan.candidates).0)
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
    let query = match scan.candidates {
        Candidates::Call(call) => query.bind(call),
        _ => query,
    };
    query.fetch_all(pool).await?.iter().map(|row| Reader(row).summary()).collect()
}

pub(super) async fn scan_end(pool: &SqlitePool, scan: &Scan<'_>) -> Result<Option<MessageId>, StoreError> {
    let query = sqlx::query_scalar(statements(scan.candidates).1);
    Ok(query.bind(scan.from).bind(scan.before).bind(i64::from(SCAN)).fetch_optional(pool).await?)
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::database::sqlite::SqliteStore;
    use crate::message::CallId;
    use crate::store::Store;

    /// Whatever is looked for, an index leads there: no statement goes through the table.
    #[tokio::test]
    async fn no_search_reads_the_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("store.db"));
        let store = SqliteStore::open(options).await.expect("opens");
        store.migrate().await.expect("migrates");
        let states = [MessageState::Half, MessageState::Confirmed, MessageState::Parked, MessageState::Dead];
        let candidates = states.into_iter().map(Candidates::Few).chain(states.map(Candidates::Waiting));
        for candidates in candidates.chain([Candidates::Newest, Candidates::Call(CallId::new())]) {
            let (found, last) = statements(candidates);
            for sql in [found, last].into_iter().filter(|sql| !sql.is_empty()) {
                let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
                let plan: Vec<(i64, i64, i64, String)> =
                    sqlx::query_as(explain).fetch_all(&store.reader).await.expect("explains");
                let steps: Vec<_> =
                    plan.iter().map(|(.., step)| step).filter(|step| step.contains("tm_message")).collect();
                assert!(
                    !steps.is_empty() && steps.iter().all(|step| step.contains("INDEX")),
                    "{candidates:?}: {plan:?}"
                );
            }
        }
    }
}
