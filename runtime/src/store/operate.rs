//! The port to the message store: what people and the janitor ask.

use std::time::Duration;

use async_trait::async_trait;

use super::audit::{AuditFilter, AuditRecord, Decision};
use super::error::StoreError;
use super::history::HistoryEntry;
use super::info::{Contents, Filter, MessageInfo, Page};
use super::process::ProcessInfo;
#[cfg(doc)]
use super::search::SCAN;
use super::search::{IdPrefix, Scan};
use super::values::{Finished, Gauges, Stats, Token, Unfinished};
use crate::message::state::{Applied, MessageState};
use crate::message::{AnsweredBy, CallId, MessageId};

/// For how long something has been due when it seems that nobody takes it up.
pub(crate) const LONG_DUE: Duration = Duration::from_mins(1);

/// The message store: what people and the janitor ask.
#[async_trait]
pub(crate) trait StoreAdmin {
    /// Messages of calls all of whose messages are finished, and that finished longer than `age`
    /// ago, oldest first: those without a fence, and those with one of `fences`, since the fence row
    /// must go first.
    async fn finished(
        &self,
        age: Duration,
        limit: u32,
        fences: &[AnsweredBy],
    ) -> Result<Vec<Finished>, StoreError>;

    /// Deletes finished messages; others are left alone. Says how many went.
    async fn delete_finished(&self, ids: &[MessageId]) -> Result<u64, StoreError>;

    /// Due halves older than `age`, except those that one of `answerable` can answer for; and
    /// held ones only if their lease has lapsed before `lapsed_before`, by the database's clock.
    async fn overdue_halves(
        &self,
        age: Duration,
        limit: u32,
        answerable: &[AnsweredBy],
        lapsed_before: Duration,
    ) -> Result<Vec<MessageId>, StoreError>;

    /// Which of these calls the store knows.
    async fn known_calls(&self, call_ids: &[CallId]) -> Result<Vec<CallId>, StoreError>;

    /// Halves that have been due for so long, by who could answer for them, if anyone.
    async fn due_by_answerer(&self, due_for: Duration) -> Result<Vec<(String, u64)>, StoreError>;

    /// Confirmed messages that have been due for so long, by service, except these; of each at most `limit`
    /// are counted.
    async fn due_by_service(
        &self,
        due_for: Duration,
        except: &[String],
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError>;

    /// One message.
    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError>;

    /// The newest messages in `state`, below `before` if given (keyset paging).
    async fn list(
        &self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, StoreError>;

    /// What is worth a look every few seconds: of unfinished rows alone, and of no more than 100 000 in each state. Says
    /// who could answer for halves that have been due for so long.
    async fn gauges(&self, unanswered_for: Duration) -> Result<Gauges, StoreError>;

    /// What [`MessageInfo`] leaves out of a message.
    async fn contents(&self, id: MessageId) -> Result<Option<Contents>, StoreError>;

    /// What went wrong with a message, the oldest first.
    async fn history(&self, id: MessageId) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Whether at most [`SCAN`] messages are in an unfinished state.
    async fn are_few(&self, state: MessageState) -> Result<bool, StoreError>;

    /// Those of the candidates that meet the conditions.
    async fn scan(&self, scan: &Scan<'_>) -> Result<Vec<MessageInfo>, StoreError>;

    /// The last of the candidates, if there are as many as were looked at.
    async fn scan_end(&self, scan: &Scan<'_>) -> Result<Option<MessageId>, StoreError>;

    /// The newest messages that meet the conditions, below `before` if given. Looks at a bounded number of them.
    async fn search(
        &self,
        filter: &Filter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let few = match filter.state {
            Some(state) if !state.is_finished() => self.are_few(state).await?,
            _ => false,
        };
        let mut scan = Scan::new(filter, before, limit, few);
        // Where to go on is known before it is looked: whatever comes or goes meanwhile, nothing is passed over.
        let end = if scan.is_whole() { None } else { self.scan_end(&scan).await? };
        scan.from = end.map_or(scan.from, |end| scan.from.max(end.as_uuid()));
        let messages = self.scan(&scan).await?;
        let next = match messages.last() {
            Some(last) if messages.len() >= limit as usize => Some(last.id),
            _ => end,
        };
        Ok(Page { messages, next })
    }

    /// At most `limit` messages whose ids begin so.
    async fn beginning(&self, prefix: IdPrefix, limit: u32) -> Result<Vec<MessageInfo>, StoreError> {
        self.scan(&Scan::of_prefix(&Filter::default(), prefix, limit)).await
    }

    /// Takes a person's decision, and keeps a record of it, both or none. Says whether it was taken; if not, what state
    /// the message is in.
    async fn decide(&self, decision: &Decision) -> Result<Applied, StoreError>;

    /// The same, with as much of the texts as the database can hold.
    async fn decide_legibly(&self, decision: Decision) -> Result<Applied, StoreError> {
        let mut decision = decision;
        let mut applied = self.decide(&decision).await;
        while matches!(applied, Err(StoreError::Refused(_))) && decision.simplify() {
            applied = self.decide(&decision).await;
        }
        applied
    }

    /// Keeps a record, with as much of the texts as the database can hold.
    async fn record_legibly(&self, decision: Decision) -> Result<(), StoreError> {
        let mut decision = decision;
        let mut recorded = self.record(&decision).await;
        while matches!(recorded, Err(StoreError::Refused(_))) && decision.simplify() {
            recorded = self.record(&decision).await;
        }
        recorded
    }

    /// Keeps a record of something that changes nothing.
    async fn record(&self, decision: &Decision) -> Result<(), StoreError>;

    /// The newest records, at most `limit`.
    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// Announces a process, and forgets those that were silent for a day.
    async fn announce(&self, process: &ProcessInfo) -> Result<(), StoreError>;

    /// A process ends.
    async fn withdraw(&self, token: Token) -> Result<(), StoreError>;

    /// The processes that announced themselves within a day, those heard of last first.
    async fn processes(&self) -> Result<Vec<ProcessInfo>, StoreError>;

    /// Counts by state.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// The same without finished rows, which it does not read.
    async fn unfinished(&self) -> Result<Unfinished, StoreError>;
}
