//! The message store on MySQL: what people and the janitor ask.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::MySql;

use super::search::{self, summary};
use super::store::MySqlStore;
use super::{by_hand, processes};
use super::{decoded, id_list, ids, name_list, names, now};
use crate::database::millis;
use crate::database::network::Bound;
use crate::database::row::{self, Reader, finished, gauges, gauges_of, unfinished};
use crate::message::state::{Applied, MessageState};
use crate::message::{AnsweredBy, CallId, MessageId};
use crate::store::{
    AuditFilter, AuditRecord, Contents, Decision, Finished, Gauges, HistoryEntry, MessageInfo, ProcessInfo,
    Scan, Stats, StoreAdmin, StoreError, Token, Unfinished,
};

/// The newest rows of one state and service. Those that are finished, or wait for an operator, are never due; said so,
/// the index of what is due has them in the order of their ids. The others are sorted for the purpose.
macro_rules! newest {
    ($state:literal) => {
        concat!(
            "SELECT ",
            summary!(),
            " FROM tm_message WHERE state = ",
            $state,
            " AND service = ? AND (? IS NULL OR id < ?) ORDER BY id DESC LIMIT ?"
        )
    };
}

const UNFINISHED: &str = unfinished!("0", now!());
const GAUGES: &str = gauges!("0", "?", now!());
const STATS: &str = concat!(unfinished!("0", now!()), finished!());

impl MySqlStore {
    /// The services that have messages in this state, from one to the next: a DISTINCT would read all rows.
    async fn services(&self, state: MessageState) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT service FROM tm_message WHERE state = ? AND service > ? ORDER BY service LIMIT 1";
        let mut services: Vec<String> = Vec::new();
        loop {
            let last = services.last().map_or("", String::as_str);
            let next = self.pool.fetch(sql, |query| query.bind(state.code()).bind(last)).await?;
            let Some((service,)) = decoded::<(String,)>(&next)?.pop() else { return Ok(services) };
            services.push(service);
        }
    }
}

#[async_trait]
impl StoreAdmin for MySqlStore {
    async fn finished(
        &self,
        age: Duration,
        limit: u32,
        fences: &[AnsweredBy],
    ) -> Result<Vec<Finished>, StoreError> {
        let sql = concat!(
            "SELECT id, call_id, answered_by FROM tm_message m WHERE state IN (2, 3, 6) AND finished_at < ",
            now!(),
            " - ? AND (answered_by NOT LIKE 'fence:%' OR answered_by IN (SELECT name FROM ",
            names!(),
            ")) ",
            "AND NOT EXISTS (SELECT 1 FROM tm_message o WHERE o.call_id = m.call_id AND o.state NOT IN (2, 3, 6)) ",
            "ORDER BY finished_at LIMIT ?"
        );
        let fences = name_list(fences);
        let rows = self.pool.fetch(sql, |query| query.bind(millis(age)).bind(&fences).bind(i64::from(limit)));
        Ok(rows.await?.iter().map(|row| Reader(row).finished()).collect::<Result<_, _>>()?)
    }

    async fn delete_finished(&self, ids: &[MessageId]) -> Result<u64, StoreError> {
        let sql = concat!(
            "DELETE m FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted WHERE m.state IN (2, 3, 6)"
        );
        Ok(self.pool.execute(sql, |query| query.bind(id_list(ids))).await?.rows_affected())
    }

    async fn known_calls(&self, call_ids: &[CallId]) -> Result<Vec<CallId>, StoreError> {
        // A call has the id of its first message.
        let sql = concat!(
            "SELECT m.id FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted"
        );
        let rows = self.pool.fetch(sql, |query| query.bind(id_list(call_ids))).await?;
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
            " - ? AND answered_by NOT IN (SELECT name FROM ",
            names!(),
            ") AND (held_by IS NULL OR due_at <= ?) LIMIT ?"
        );
        let answerable = name_list(answerable);
        let bind = |query: Bound<MySql>| {
            query.bind(millis(age)).bind(&answerable).bind(millis(lapsed_before)).bind(i64::from(limit))
        };
        let rows = self.pool.fetch(sql, bind).await?;
        Ok(rows.iter().map(|row| Reader(row).id()).collect::<Result<_, _>>()?)
    }

    async fn due_by_answerer(&self, due_for: Duration) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = concat!(
            "SELECT answered_by, count(*) FROM tm_message WHERE state = 0 AND due_at <= ",
            now!(),
            " - ? GROUP BY answered_by"
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
        let sql = concat!(
            "SELECT count(*) FROM (SELECT 1 FROM tm_message WHERE state = 1 AND service = ? AND due_at <= ",
            now!(),
            " - ? LIMIT ?) due"
        );
        let mut found = Vec::new();
        for service in self.services(MessageState::Confirmed).await? {
            if except.contains(&service) {
                continue;
            }
            let bind =
                |query: Bound<MySql>| query.bind(&service).bind(millis(due_for)).bind(i64::from(limit));
            let rows: Vec<(i64,)> = decoded(&self.pool.fetch(sql, bind).await?)?;
            let count: i64 = rows.iter().map(|(count,)| count).sum();
            if count > 0 {
                found.push((service, count.unsigned_abs()));
            }
        }
        Ok(found)
    }

    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError> {
        let sql = concat!("SELECT ", summary!(), " FROM tm_message WHERE id = ?");
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
            MessageState::Half => newest!("0"),
            MessageState::Confirmed => newest!("1"),
            MessageState::Cancelled => newest!("2 AND due_at IS NULL"),
            MessageState::Delivered => newest!("3 AND due_at IS NULL"),
            MessageState::Parked => newest!("4 AND due_at IS NULL"),
            MessageState::Dead => newest!("5 AND due_at IS NULL"),
            MessageState::Expired => newest!("6 AND due_at IS NULL"),
        };
        let mut newest: Vec<MessageInfo> = Vec::new();
        for service in &self.services(state).await? {
            let bind =
                |query: Bound<MySql>| query.bind(service).bind(before).bind(before).bind(i64::from(limit));
            for row in &self.pool.fetch(sql, bind).await? {
                newest.push(Reader(row).summary()?);
            }
        }
        newest.sort_unstable_by_key(|message| std::cmp::Reverse(message.id));
        newest.truncate(limit as usize);
        Ok(newest)
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
