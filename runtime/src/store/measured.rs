//! A store whose answers are timed, and whose failures are counted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    AuditFilter, AuditRecord, Claim, ClaimLimits, Contents, Decision, Finished, Flush, Gauges, HistoryEntry,
    Hold, ItemOutcome, MessageInfo, NewOperation, Operation, OperationItem, Pause, ProcessInfo, Release,
    Renewed, Scan, Stats, Store, StoreAdmin, StoreControl, StoreError, StoreOperations, Token, Transition,
    Unfinished,
};
use crate::message::limits::Limits;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, CallId, Half, MessageId, Pausable};
use crate::telemetry::catalogue::{STORE_DURATION, STORE_ERRORS};
use crate::telemetry::labels::{Statement, StoreTrouble};

/// The store that everybody gets.
#[derive(Debug)]
pub(crate) struct Measured(Arc<dyn Store>);

impl Measured {
    pub(crate) const fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

async fn timed<T>(
    statement: Statement,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let answer = answer.await;
    STORE_DURATION.at(statement).record(began.elapsed());
    if let Err(error) = &answer {
        STORE_ERRORS.at(trouble(error)).increment(1);
    }
    answer
}

const fn trouble(error: &StoreError) -> StoreTrouble {
    match error {
        StoreError::Unavailable(_) => StoreTrouble::Connection,
        StoreError::TimedOut(_) => StoreTrouble::Timeout,
        StoreError::Contended(_) => StoreTrouble::Serialization,
        StoreError::Schema(_) | StoreError::Unexpected(_) | StoreError::Refused(_) => StoreTrouble::Other,
    }
}

#[async_trait]
impl Store for Measured {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.0.migrate().await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        self.0.check_schema().await
    }

    async fn check_server(&self, limits: Limits) -> Result<(), StoreError> {
        self.0.check_server(limits).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        self.0.weaknesses().await
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn file(&self) -> Option<&Path> {
        self.0.file()
    }

    fn troubles(&self) -> u64 {
        self.0.troubles()
    }

    fn switches(&self) -> u64 {
        self.0.switches()
    }

    async fn insert_halves(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        timed(Statement::StoreHalves, self.0.insert_halves(halves, hold)).await
    }

    async fn insert_confirmed(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        timed(Statement::StoreHalves, self.0.insert_confirmed(halves, hold)).await
    }

    async fn apply(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
        flush: Flush,
    ) -> Result<Vec<Applied>, StoreError> {
        timed(Statement::Transitions, self.0.apply(event, from, transitions, hold, flush)).await
    }

    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError> {
        timed(Statement::Renewals, self.0.renew(ids, hold)).await
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        timed(Statement::Releases, self.0.release(releases)).await
    }

    async fn claim_halves(
        &self,
        askable: &[AnsweredBy],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        timed(Statement::ClaimHalves, self.0.claim_halves(askable, limits, hold)).await
    }

    async fn enter(&self, id: MessageId, hold: Hold) -> Result<bool, StoreError> {
        timed(Statement::ClaimHalves, self.0.enter(id, hold)).await
    }

    async fn claim_confirmed(
        &self,
        services: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        timed(Statement::ClaimConfirmed, self.0.claim_confirmed(services, limits, hold)).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait]
impl StoreAdmin for Measured {
    async fn finished(
        &self,
        age: Duration,
        limit: u32,
        fences: &[AnsweredBy],
    ) -> Result<Vec<Finished>, StoreError> {
        timed(Statement::Upkeep, self.0.finished(age, limit, fences)).await
    }

    async fn delete_finished(&self, ids: &[MessageId]) -> Result<u64, StoreError> {
        timed(Statement::Upkeep, self.0.delete_finished(ids)).await
    }

    async fn overdue_halves(
        &self,
        age: Duration,
        limit: u32,
        answerable: &[AnsweredBy],
        lapsed_before: Duration,
    ) -> Result<Vec<MessageId>, StoreError> {
        timed(Statement::Upkeep, self.0.overdue_halves(age, limit, answerable, lapsed_before)).await
    }

    async fn known_calls(&self, call_ids: &[CallId]) -> Result<Vec<CallId>, StoreError> {
        timed(Statement::Upkeep, self.0.known_calls(call_ids)).await
    }

    async fn due_by_answerer(&self, due_for: Duration) -> Result<Vec<(String, u64)>, StoreError> {
        timed(Statement::Upkeep, self.0.due_by_answerer(due_for)).await
    }

    async fn due_by_service(
        &self,
        due_for: Duration,
        except: &[String],
        limit: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        timed(Statement::Upkeep, self.0.due_by_service(due_for, except, limit)).await
    }

    async fn find(&self, id: MessageId) -> Result<Option<MessageInfo>, StoreError> {
        timed(Statement::Upkeep, self.0.find(id)).await
    }

    async fn list(
        &self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, StoreError> {
        timed(Statement::Upkeep, self.0.list(state, before, limit)).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        timed(Statement::Upkeep, self.0.stats()).await
    }

    async fn unfinished(&self) -> Result<Unfinished, StoreError> {
        timed(Statement::Upkeep, self.0.unfinished()).await
    }

    async fn gauges(&self, unanswered_for: Duration) -> Result<Gauges, StoreError> {
        timed(Statement::Gauges, self.0.gauges(unanswered_for)).await
    }

    async fn contents(&self, id: MessageId) -> Result<Option<Contents>, StoreError> {
        timed(Statement::Upkeep, self.0.contents(id)).await
    }

    async fn history(&self, id: MessageId) -> Result<Vec<HistoryEntry>, StoreError> {
        timed(Statement::Upkeep, self.0.history(id)).await
    }

    async fn are_few(&self, state: MessageState) -> Result<bool, StoreError> {
        timed(Statement::Upkeep, self.0.are_few(state)).await
    }

    async fn scan(&self, scan: &Scan<'_>) -> Result<Vec<MessageInfo>, StoreError> {
        timed(Statement::Upkeep, self.0.scan(scan)).await
    }

    async fn scan_end(&self, scan: &Scan<'_>) -> Result<Option<MessageId>, StoreError> {
        timed(Statement::Upkeep, self.0.scan_end(scan)).await
    }

    async fn decide(&self, decision: &Decision) -> Result<Applied, StoreError> {
        timed(Statement::Upkeep, self.0.decide(decision)).await
    }

    async fn record(&self, decision: &Decision) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.record(decision)).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        timed(Statement::Upkeep, self.0.audit(filter, limit)).await
    }

    async fn announce(&self, process: &ProcessInfo) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.announce(process)).await
    }

    async fn withdraw(&self, token: Token) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.withdraw(token)).await
    }

    async fn processes(&self) -> Result<Vec<ProcessInfo>, StoreError> {
        timed(Statement::Upkeep, self.0.processes()).await
    }
}

#[async_trait]
impl StoreControl for Measured {
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        timed(Statement::Upkeep, self.0.pauses()).await
    }

    async fn pause(&self, what: &Pausable, lasts: Duration, decision: &Decision) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.pause(what, lasts, decision)).await
    }

    async fn resume(&self, what: &Pausable, decision: &Decision) -> Result<bool, StoreError> {
        timed(Statement::Upkeep, self.0.resume(what, decision)).await
    }

    async fn wake(&self, mark: &str, limit: u32) -> Result<u64, StoreError> {
        timed(Statement::Upkeep, self.0.wake(mark, limit)).await
    }
}

#[async_trait]
impl StoreOperations for Measured {
    async fn order(&self, operation: &NewOperation) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.order(operation)).await
    }

    async fn operations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Operation>, StoreError> {
        timed(Statement::Upkeep, self.0.operations(before, limit)).await
    }

    async fn operation(&self, id: Uuid) -> Result<Option<Operation>, StoreError> {
        timed(Statement::Upkeep, self.0.operation(id)).await
    }

    async fn due_operations(&self) -> Result<Vec<Uuid>, StoreError> {
        timed(Statement::Upkeep, self.0.due_operations()).await
    }

    async fn take_operation(&self, id: Uuid, hold: Hold) -> Result<bool, StoreError> {
        timed(Statement::Upkeep, self.0.take_operation(id, hold)).await
    }

    async fn items(
        &self,
        id: Uuid,
        beyond: u64,
        open: bool,
        limit: u32,
    ) -> Result<Vec<OperationItem>, StoreError> {
        timed(Statement::Upkeep, self.0.items(id, beyond, open, limit)).await
    }

    async fn is_recorded(&self, record_id: Uuid) -> Result<bool, StoreError> {
        timed(Statement::Upkeep, self.0.is_recorded(record_id)).await
    }

    async fn settle_item(
        &self,
        id: Uuid,
        position: u64,
        outcome: ItemOutcome,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.settle_item(id, position, outcome, why)).await
    }

    async fn end_operation(&self, id: Uuid, stopped: Option<&str>) -> Result<bool, StoreError> {
        timed(Statement::Upkeep, self.0.end_operation(id, stopped)).await
    }

    async fn prune_operations(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        timed(Statement::Upkeep, self.0.prune_operations(older_than, limit)).await
    }

    async fn prune_audit(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        timed(Statement::Upkeep, self.0.prune_audit(older_than, limit)).await
    }

    async fn leave_operation(&self, id: Uuid, hold: Hold) -> Result<(), StoreError> {
        timed(Statement::Upkeep, self.0.leave_operation(id, hold)).await
    }
}
