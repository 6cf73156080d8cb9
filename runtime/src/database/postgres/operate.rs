//! The message store on PostgreSQL: what people and the janitor ask.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Postgres;

use super::search::{self, summary};
use super::store::PostgresStore;
use super::{by_hand, processes};
use super::{decoded, now, state_in};
use crate::database::millis;
use crate::database::network::Bound;
use crate::database::row::{self, Reader, finished, gauges, gauges_of, unfinished};
use crate::message::state::{Applied, MessageState};
use crate::message::{AnsweredBy, CallId, MessageId};
use crate::store::{
    AuditFilter, AuditRecord, Contents, Decision, Finished, Gauges, HistoryEntry, MessageInfo, ProcessInfo,
    Scan, Stats, StoreAdmin, StoreError, Token, Unfinished,
};

/// The newest rows of one state, by the primary key: for what most rows are.
macro_rules! newest {
    ($state:literal) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE state = ",
            $state,
            " AND ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2"
        )
    };
}

/// The same of a state that has a partial index, which has them in another order: all of it is sorted, since the primary key
/// would lead through all that is newer. The state is written out, so that the index serves.
macro_rules! newest_of_few {
    ($state:literal) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE id = ANY(ARRAY(SELECT id FROM (SELECT id FROM tm_message WHERE state = ",
            $state,
            " AND ($1::uuid IS NULL OR id < $1) OFFSET 0) of_state ORDER BY id DESC LIMIT $2)) ORDER BY id DESC"
        )
    };
}

/// The same by an index that has them in this order, between any ids: see `waiting` in `search`.
macro_rules! newest_waiting {
    ($state:literal) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE id = ANY(ARRAY(SELECT id FROM tm_message WHERE state = ",
            $state,
            " AND (state, id) >= (",
            $state,
            ", '00000000-0000-0000-0000-000000000000'::uuid) AND (state, id) < (",
            $state,
            ", coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)) ORDER BY state DESC, id DESC LIMIT $2)) ORDER BY id DESC"
        )
    };
}

fn names(answered_by: &[AnsweredBy]) -> Vec<String> {
    answered_by.iter().map(ToString::to_string).collect()
}

const UNFINISHED: &str = unfinished!("0::bigint", now!());
const GAUGES: &str = gauges!("0::bigint", "$1", now!());
const STATS: &str = concat!(unfinished!("0::bigint", now!()), finished!());

/// Finished rows that are old enough, of which nothing waits. In each case an index of its own has them.
macro_rules! finished_rows {
    ($states:literal) => {
        concat!(
            "SELECT * FROM (SELECT id, call_id, answered_by FROM tm_message m WHERE ",
            $states,
            " AND finished_at < ",
            now!(),
            " - $1 AND (answered_by NOT LIKE 'fence:%' OR answered_by = ANY($2)) ",
            // A call's first message has its id; the partial index has the others.
            "AND NOT EXISTS (SELECT 1 FROM tm_message f WHERE f.id = m.call_id AND f.state NOT IN (2, 3, 6)) ",
            "AND NOT EXISTS (SELECT 1 FROM tm_message o WHERE o.call_id = m.call_id AND o.call_id <> o.id ",
            "AND o.state NOT IN (2, 3, 6)) ORDER BY finished_at LIMIT $3)"
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
impl StoreAdmin for PostgresStore {
    async fn finished(
        &self,
        age: Duration,
        limit: u32,
        fences: &[AnsweredBy],
    ) -> Result<Vec<Finished>, StoreError> {
        let fences = names(fences);
        let rows =
            self.pool.fetch(FINISHED, |query| query.bind(millis(age)).bind(&fences).bind(i64::from(limit)));
        Ok(rows.await?.iter().map(|row| Reader(row).finished()).collect::<Result<_, _>>()?)
    }

    async fn delete_finished(&self, ids: &[MessageId]) -> Result<u64, StoreError> {
        let sql = concat!("DELETE FROM tm_message WHERE id = ANY($1) AND ", state_in!("", "76"));
        Ok(self.pool.execute(sql, |query| query.bind(ids)).await?.rows_affected())
    }

    async fn known_calls(&self, call_ids: &[CallId]) -> Result<Vec<CallId>, StoreError> {
        // A call has the id of its first message.
        let sql = "SELECT id FROM tm_message WHERE id = ANY($1)";
        let rows = self.pool.fetch(sql, |query| query.bind(call_ids)).await?;
        Ok(rows.iter().map(|row| Reader(row).id().map(CallId::of)).collect::<Result<_, _>>()?)
    }

    async fn overdue_halves(
        &self,
        age: Duration,
        limit: u32,
        answerable: &[AnsweredBy],
        lapsed_before: Duration,
    ) -> Result<Vec<MessageId>, StoreError> {
        let sql = concat!(
            "SELECT id FROM tm_message WHERE state = 0 AND due_at <= ",
            now!(),
            " AND created_at < ",
            now!(),
            " - $1 AND answered_by <> ALL($2) AND (held_by IS NULL OR due_at <= $3) LIMIT $4"
        );
        let answerable = names(answerable);
        let bind = |query: Bound<Postgres>| {
            query.bind(millis(age)).bind(&answerable).bind(millis(lapsed_before)).bind(i64::from(limit))
        };
        let rows = self.pool.fetch(sql, bind).await?;
        Ok(rows.iter().map(|row| Reader(row).id()).collect::<Result<_, _>>()?)
    }

    async fn due_by_answerer(&self, due_for: Duration) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = concat!(
            "SELECT answered_by, count(*) FROM tm_message WHERE state = 0 AND due_at <= ",
            now!(),
            " - $1 GROUP BY answered_by"
        );
        let rows: Vec<(String, i64)> =
            decoded(&self.pool.fetch(sql, |query| query.bind(millis(due_for))).await?)?;
        Ok(rows.into_iter().map(|(name, count)| (name, count.unsigned_abs())).collect())
    }

    async fn due_by_service(
        &self,
        due_for: Duration,
        except: &[String],
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        // From one service to the next, so that a service's rows cost nothing but those that are counted.
        let sql = concat!(
            "WITH RECURSIVE services (service) AS ((SELECT min(service) FROM tm_message WHERE state = 1) UNION ALL ",
            "SELECT (SELECT min(m.service) FROM tm_message m WHERE m.state = 1 AND m.service > s.service) ",
            "FROM services s WHERE s.service IS NOT NULL) ",
            "SELECT service, due FROM services s, LATERAL (SELECT count(*) AS due FROM (SELECT 1 FROM tm_message m ",
            "WHERE m.state = 1 AND m.service = s.service AND m.due_at <= ",
            now!(),
            " - $1 LIMIT $3) found) counted WHERE service IS NOT NULL AND service <> ALL($2) AND due > 0"
        );
        let bind = |query: Bound<Postgres>| query.bind(millis(due_for)).bind(except).bind(i64::from(limit));
        let rows: Vec<(String, i64)> = decoded(&self.pool.fetch(sql, bind).await?)?;
        Ok(rows.into_iter().map(|(name, count)| (name, count.unsigned_abs())).collect())
    }

    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError> {
        let sql = concat!("SELECT ", summary!(), " FROM tm_message WHERE id = $1");
        let rows = self.pool.fetch(sql, |query| query.bind(id)).await?;
        rows.first().map(|row| Reader(row).summary()).transpose()
    }

    async fn list(
        &self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, StoreError> {
        let sql = match state {
            MessageState::Half => newest_of_few!(0),
            MessageState::Confirmed => newest_of_few!(1),
            MessageState::Cancelled => newest!(2),
            MessageState::Delivered => newest!(3),
            MessageState::Parked => newest_waiting!(4),
            MessageState::Dead => newest_waiting!(5),
            MessageState::Expired => newest_of_few!(6),
        };
        let rows = self.pool.fetch(sql, |query| query.bind(before).bind(i64::from(limit))).await?;
        rows.iter().map(|row| Reader(row).summary()).collect()
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(row::stats(decoded(&self.pool.fetch(STATS, |query| query).await?)?))
    }

    async fn unfinished(&self) -> Result<Unfinished, StoreError> {
        Ok(row::stats(decoded(&self.pool.fetch(UNFINISHED, |query| query).await?)?).into())
    }

    async fn contents(&self, id: MessageId) -> Result<Option<Contents>, StoreError> {
        search::contents(&self.pool, id).await
    }

    async fn history(&self, id: MessageId) -> Result<Vec<HistoryEntry>, StoreError> {
        search::history(&self.pool, id).await
    }

    async fn are_few(&self, state: MessageState) -> Result<bool, StoreError> {
        search::are_few(&self.pool, state).await
    }

    async fn scan(&self, scan: &Scan<'_>) -> Result<Vec<MessageInfo>, StoreError> {
        search::scan(&self.pool, scan).await
    }

    async fn scan_end(&self, scan: &Scan<'_>) -> Result<Option<MessageId>, StoreError> {
        search::scan_end(&self.pool, scan).await
    }

    async fn decide(&self, decision: &Decision) -> Result<Applied, StoreError> {
        by_hand::decide(&self.pool, decision).await
    }

    async fn record(&self, decision: &Decision) -> Result<(), StoreError> {
        by_hand::record(&self.pool, decision).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        by_hand::audit(&self.pool, filter, limit).await
    }

    async fn announce(&self, process: &ProcessInfo) -> Result<(), StoreError> {
        processes::announce(&self.pool, process).await
    }

    async fn withdraw(&self, token: Token) -> Result<(), StoreError> {
        processes::withdraw(&self.pool, token).await
    }

    async fn processes(&self) -> Result<Vec<ProcessInfo>, StoreError> {
        processes::processes(&self.pool).await
    }

    async fn gauges(&self, unanswered_for: Duration) -> Result<Gauges, StoreError> {
        let rows = decoded(&self.pool.fetch(GAUGES, |query| query.bind(millis(unanswered_for))).await?)?;
        Ok(gauges_of(rows))
    }
}
