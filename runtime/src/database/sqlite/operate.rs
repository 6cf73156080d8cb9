//! The message store on SQLite: what people and the janitor ask.

use std::time::Duration;

use async_trait::async_trait;

use super::search::{self, summary};
use super::store::SqliteStore;
use super::write::id_list;
use super::{PATIENCE, now, patiently};
use super::{by_hand, processes};
use crate::database::millis;
use crate::database::row::{self, Reader, finished, gauges, gauges_of, unfinished};
use crate::message::state::{Applied, MessageState};
use crate::message::{AnsweredBy, CallId, MessageId};
use crate::store::{
    AuditFilter, AuditRecord, Contents, Decision, Finished, Gauges, HistoryEntry, MessageInfo, ProcessInfo,
    Scan, Stats, StoreAdmin, StoreError, Token, Unfinished,
};

/// The newest rows of one state. The state is written out, so that the partial indexes serve.
macro_rules! newest {
    ($state:literal) => {
        newest!($state, "id")
    };
    ($state:literal, $order:literal) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE state = ",
            $state,
            " AND (?1 IS NULL OR id < ?1) ORDER BY ",
            $order,
            " DESC LIMIT ?2"
        )
    };
}

/// The same of a state whose partial index has them in another order: all of it is sorted (`+id` is no column of an index), since
/// the index of ids would lead through all that is newer.
macro_rules! newest_of_few {
    ($state:literal) => {
        newest!($state, "+id")
    };
}

const fn newest(state: MessageState) -> &'static str {
    match state {
        MessageState::Half => newest_of_few!(0),
        MessageState::Confirmed => newest_of_few!(1),
        MessageState::Cancelled => newest!(2),
        MessageState::Delivered => newest!(3),
        MessageState::Parked => newest!("4 AND state IN (4, 5)"),
        MessageState::Dead => newest!("5 AND state IN (4, 5)"),
        MessageState::Expired => newest_of_few!(6),
    }
}

const UNFINISHED: &str = unfinished!("0", now!());
const GAUGES: &str = gauges!("0", "?1", now!());
const STATS: &str = concat!(unfinished!("0", now!()), finished!());

/// Finished rows that are old enough, of which nothing waits. In each case an index of its own has them.
macro_rules! finished_rows {
    ($states:literal) => {
        concat!(
            "SELECT * FROM (SELECT id, call_id, answered_by FROM tm_message m WHERE ",
            $states,
            " AND finished_at < ",
            now!(),
            " - ?1 AND (answered_by NOT LIKE 'fence:%' OR answered_by IN (SELECT value FROM json_each(?2))) ",
            // A call's first message has its id; the partial index has the others.
            "AND NOT EXISTS (SELECT 1 FROM tm_message f WHERE f.id = m.call_id AND f.state NOT IN (2, 3, 6)) ",
            "AND NOT EXISTS (SELECT 1 FROM tm_message o WHERE o.call_id = m.call_id AND o.call_id <> o.id ",
            "AND o.state NOT IN (2, 3, 6)) ORDER BY finished_at LIMIT ?3)"
        )
    };
}
const FINISHED: &str = concat!(
    finished_rows!("state IN (2, 3)"),
    " AS decided UNION ALL ",
    finished_rows!("state = 6"),
    " AS expired"
);

#[async_trait]
impl StoreAdmin for SqliteStore {
    async fn finished(
        &self,
        age: Duration,
        limit: u32,
        fences: &[AnsweredBy],
    ) -> Result<Vec<Finished>, StoreError> {
        let fences: Vec<String> = fences.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(FINISHED)
            .bind(millis(age))
            .bind(serde_json::json!(fences).to_string())
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await?;
        Ok(rows.iter().map(|row| Reader(row).finished()).collect::<Result<_, _>>()?)
    }

    async fn delete_finished(&self, ids: &[MessageId]) -> Result<u64, StoreError> {
        let _turn = self.queue.take(PATIENCE).await?;
        let sql = "DELETE FROM tm_message WHERE id IN (SELECT unhex(value) FROM json_each(?1)) AND state IN (2, 3, 6)";
        let list = id_list(ids);
        let deleted = patiently(|| sqlx::query(sql).bind(&list).execute(&self.writer)).await?;
        Ok(deleted.rows_affected())
    }

    async fn known_calls(&self, call_ids: &[CallId]) -> Result<Vec<CallId>, StoreError> {
        // A call has the id of its first message.
        let known = sqlx::query_scalar(
            "SELECT id FROM tm_message WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
        )
        .bind(id_list(call_ids))
        .fetch_all(&self.reader)
        .await?;
        Ok(known)
    }

    async fn overdue_halves(
        &self,
        age: Duration,
        limit: u32,
        answerable: &[AnsweredBy],
        lapsed_before: Duration,
    ) -> Result<Vec<MessageId>, StoreError> {
        let answerable: Vec<String> = answerable.iter().map(ToString::to_string).collect();
        let ids = sqlx::query_scalar(concat!(
            "SELECT id FROM tm_message WHERE state = 0 AND due_at <= ",
            now!(),
            " AND created_at < ",
            now!(),
            " - ?1 AND answered_by NOT IN (SELECT value FROM json_each(?2)) AND (held_by IS NULL OR due_at <= ?3) LIMIT ?4"
        ))
        .bind(millis(age))
        .bind(serde_json::json!(answerable).to_string())
        .bind(millis(lapsed_before))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        Ok(ids)
    }

    async fn due_by_answerer(&self, due_for: Duration) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(concat!(
            "SELECT answered_by, count(*) FROM tm_message WHERE state = 0 AND due_at <= ",
            now!(),
            " - ?1 GROUP BY answered_by"
        ))
        .bind(millis(due_for))
        .fetch_all(&self.reader)
        .await?;
        Ok(rows.into_iter().map(|(name, count)| (name, count.unsigned_abs())).collect())
    }

    async fn due_by_service(
        &self,
        due_for: Duration,
        except: &[String],
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        // From one service to the next, so that a service's rows cost nothing but those that are counted.
        let rows: Vec<(String, i64)> = sqlx::query_as(concat!(
            "WITH RECURSIVE services (service) AS (SELECT min(service) FROM tm_message WHERE state = 1 UNION ALL ",
            "SELECT (SELECT min(m.service) FROM tm_message m WHERE m.state = 1 AND m.service > s.service) ",
            "FROM services s WHERE s.service IS NOT NULL) ",
            "SELECT service, (SELECT count(*) FROM (SELECT 1 FROM tm_message m WHERE m.state = 1 ",
            "AND m.service = s.service AND m.due_at <= ",
            now!(),
            " - ?1 LIMIT ?3)) AS due FROM services s WHERE service IS NOT NULL ",
            "AND service NOT IN (SELECT value FROM json_each(?2)) AND due > 0"
        ))
        .bind(millis(due_for))
        .bind(serde_json::json!(except).to_string())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        Ok(rows.into_iter().map(|(name, count)| (name, count.unsigned_abs())).collect())
    }

    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError> {
        let row = sqlx::query(concat!("SELECT ", summary!(), " FROM tm_message WHERE id = ?1"))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(|row| Reader(row).summary()).transpose()
    }

    async fn list(
        &self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, StoreError> {
        let query = sqlx::query(newest(state)).bind(before).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await?;
        rows.iter().map(|row| Reader(row).summary()).collect()
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(row::stats(sqlx::query_as(STATS).fetch_all(&self.reader).await?))
    }

    async fn unfinished(&self) -> Result<Unfinished, StoreError> {
        Ok(row::stats(sqlx::query_as(UNFINISHED).fetch_all(&self.reader).await?).into())
    }

    async fn contents(&self, id: MessageId) -> Result<Option<Contents>, StoreError> {
        search::contents(&self.reader, id).await
    }

    async fn history(&self, id: MessageId) -> Result<Vec<HistoryEntry>, StoreError> {
        search::history(&self.reader, id).await
    }

    async fn are_few(&self, state: MessageState) -> Result<bool, StoreError> {
        search::are_few(&self.reader, state).await
    }

    async fn scan(&self, scan: &Scan<'_>) -> Result<Vec<MessageInfo>, StoreError> {
        search::scan(&self.reader, scan).await
    }

    async fn scan_end(&self, scan: &Scan<'_>) -> Result<Option<MessageId>, StoreError> {
        search::scan_end(&self.reader, scan).await
    }

    async fn decide(&self, decision: &Decision) -> Result<Applied, StoreError> {
        by_hand::decide(self, decision).await
    }

    async fn record(&self, decision: &Decision) -> Result<(), StoreError> {
        by_hand::record(self, decision).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        by_hand::audit(&self.reader, filter, limit).await
    }

    async fn announce(&self, process: &ProcessInfo) -> Result<(), StoreError> {
        processes::announce(self, process).await
    }

    async fn withdraw(&self, token: Token) -> Result<(), StoreError> {
        processes::withdraw(self, token).await
    }

    async fn processes(&self) -> Result<Vec<ProcessInfo>, StoreError> {
        processes::processes(&self.reader).await
    }

    async fn gauges(&self, unanswered_for: Duration) -> Result<Gauges, StoreError> {
        let rows = sqlx::query_as(GAUGES).bind(millis(unanswered_for)).fetch_all(&self.reader).await?;
        Ok(gauges_of(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const PLAN: &str = concat!("EXPLAIN QUERY PLAN ", gauges!("0", "?1", now!()));

    #[tokio::test]
    async fn a_list_of_what_is_few_reads_its_index() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("store.db"));
        let store = SqliteStore::open(options).await.expect("opens");
        store.migrate().await.expect("migrates");
        for (state, index) in [
            (MessageState::Half, "tm_message_half"),
            (MessageState::Confirmed, "tm_message_confirmed"),
            (MessageState::Parked, "tm_message_waiting"),
            (MessageState::Dead, "tm_message_waiting"),
            (MessageState::Expired, "tm_message_expired"),
        ] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", newest(state)));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&store.reader).await.expect("explains");
            assert!(plan[0].3.contains(&format!("INDEX {index}")), "{state}: {plan:?}");
        }
    }

    #[tokio::test]
    async fn a_look_reads_no_finished_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let store = SqliteStore::open(options).await.expect("opens");
        store.migrate().await.expect("migrates");
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(PLAN).bind(0).fetch_all(&store.reader).await.expect("explains");
        let of_the_table: Vec<_> =
            plan.iter().map(|(.., step)| step).filter(|step| step.contains("tm_message")).collect();
        assert_eq!(of_the_table.len(), 5, "{plan:?}");
        let partial = ["tm_message_half", "tm_message_confirmed", "tm_message_waiting"];
        assert!(
            of_the_table
                .iter()
                .all(|step| partial.iter().any(|index| step.contains(&format!("INDEX {index}")))),
            "{plan:?}"
        );
    }
}
