//! The reporter: carries what bodies ended with to the store, until the store has it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::persist::{Row, Tried, leave, leave_all, persist, pursue, store_anew};
use super::places::Places;
use super::{PACE, Worker, log_store_error};
use crate::core::Core;
use crate::fault;
use crate::message::state::{Applied, Event};
use crate::message::{AnsweredBy, Half, MessageId};
use crate::protocol::report::{Decision, Ending};
use crate::protocol::{LiveCall, Report};
use crate::store::{Attempts, Change, Hold, Postponement};

/// Reports taken in one go.
const BATCH: usize = 256;

/// Takes reports, oldest first, and brings each to the store.
#[derive(Debug)]
pub(crate) struct Reporter {
    core: Arc<Core>,
    reports: UnboundedReceiver<Report>,
    /// Taken from the channel and not yet with the store; kept here over a panic.
    pending: Vec<Report>,
    /// What the store failed over, or has lost: brought to it beside the others.
    pursuits: JoinSet<()>,
}

/// What the store failed over, or has lost.
#[derive(Default)]
struct Rest {
    rows: Vec<(Event, Vec<Row>)>,
    anew: Vec<Arc<Half>>,
    left: Vec<(Arc<Half>, Postponement)>,
}

impl Reporter {
    pub(crate) fn new(core: &Arc<Core>, reports: UnboundedReceiver<Report>) -> Self {
        Self { core: Arc::clone(core), reports, pending: Vec::new(), pursuits: JoinSet::new() }
    }

    /// Brings everything to the store that is there now.
    pub(crate) async fn run_once(&mut self) {
        loop {
            self.fill();
            if self.pending.is_empty() {
                break;
            }
            self.work().await;
        }
        while self.pursuits.join_next().await.is_some() {}
    }

    /// Takes more reports, as many as go together.
    fn fill(&mut self) {
        while self.pending.len() < BATCH
            && let Ok(report) = self.reports.try_recv()
        {
            self.pending.push(report);
        }
    }

    async fn work(&mut self) {
        let mut rest = Rest::default();
        let (mut confirmed, mut cancelled) = (Vec::new(), Vec::new());
        for report in &self.pending {
            let call = &report.call;
            match report.decision() {
                Decision::Confirm { amended } => {
                    confirmed.extend(rows(call, |id| Change::of(id).amended(amended.clone())));
                }
                Decision::Cancel if report.ending == Ending::NeverRan => self.withdraw(call).await,
                Decision::Cancel => cancelled.extend(rows(call, Change::of)),
                Decision::AskFence => self.ask_fence(call),
                Decision::AskLater => rest.left.extend(self.ask_later(call).await),
                Decision::ParkForgotten => self.park_forgotten(call, &mut rest).await,
            }
        }
        self.confirm(confirmed, &mut rest).await;
        self.decide(Event::BodyCancels, cancelled, &mut rest).await;
        self.pending.clear();
        self.pursue(rest);
    }

    /// Goes on beside the others with what the store failed over, or has lost.
    fn pursue(&mut self, rest: Rest) {
        let Rest { rows, anew, left } = rest;
        while self.pursuits.try_join_next().is_some() {}
        for (event, rows) in rows.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let core = Arc::clone(&self.core);
            self.pursuits.spawn(async move { pursue(&core, Self::NAME, event, rows).await });
        }
        for half in anew {
            let core = Arc::clone(&self.core);
            self.pursuits.spawn(async move { store_anew(&core, Self::NAME, &half).await });
        }
        if !left.is_empty() {
            let core = Arc::clone(&self.core);
            self.pursuits.spawn(async move { leave_all(&core, Self::NAME, left).await });
        }
    }

    /// Confirms. What has room at the relay is ours, and goes there; the rest, as when the broker is away, is
    /// anybody's from the first.
    async fn confirm(&self, mut confirmed: Vec<Row>, rest: &mut Rest) {
        if confirmed.is_empty() {
            return;
        }
        let places = Places::reserve(&self.core, confirmed.iter().map(Row::size));
        let anybodys = confirmed.split_off(places.len());
        self.confirm_some(confirmed, Some(places), rest).await;
        self.confirm_some(anybodys, None, rest).await;
        fault::point("confirmed");
    }

    /// Confirms, and hands on what there are places for, unless it was confirmed before.
    async fn confirm_some(&self, rows: Vec<Row>, mut places: Option<Places<'_>>, rest: &mut Rest) {
        let hold = places.as_ref().map(|_| self.core.leases.hold());
        let mut failed = Vec::new();
        let tried = fault::pending("confirm-sent", self.persist(Event::BodyConfirms, &rows, hold)).await;
        for (row, tried) in rows.into_iter().zip(tried) {
            match tried {
                Tried::Applied(Applied::Moved, deadline) => {
                    if let Some(places) = &mut places {
                        places.hand_on(row.amended(), deadline);
                    }
                }
                // A restored or failed-over store: the effect is there, so the message must be.
                Tried::Applied(Applied::Missing, _) => rest.anew.push(row.amended()),
                Tried::Failed => failed.push(row),
                // Confirmed before, by a check-back or by an earlier try whose answer was lost.
                Tried::Applied(Applied::Already | Applied::Conflict(_), _) | Tried::Refused => {}
            }
        }
        rest.rows.push((Event::BodyConfirms, failed));
    }

    /// A half whose caller left before the body ran: if this is lost, check-back settles it.
    async fn withdraw(&self, call: &LiveCall) {
        let changes: Vec<_> = call.ids().map(Change::of).collect();
        if let Err(error) = self.core.store.transition(Event::BodyCancels, &changes, None).await {
            log_store_error(Self::NAME, &error);
        }
        self.let_go(call);
    }

    fn ask_fence(&self, call: &Arc<LiveCall>) {
        if self.core.questions.send(Arc::clone(call)).is_err() {
            self.let_go(call);
        }
    }

    /// Leaves halves to their handler. Returns those that the store failed over.
    async fn ask_later(&self, call: &LiveCall) -> Vec<(Arc<Half>, Postponement)> {
        let back = |half: &Arc<Half>| Postponement {
            id: half.id,
            held_by: self.core.leases.token(),
            after: call.check_after,
            attempts: Attempts::Keep,
            reason: Some("nobody reported how the call ended".into()),
        };
        let halves = call.halves.iter().map(|half| (Arc::clone(half), back(half))).collect();
        leave(&self.core, Self::NAME, halves).await
    }

    async fn park_forgotten(&self, call: &LiveCall, rest: &mut Rest) {
        let function = call.scope.function();
        tracing::error!(
            function,
            id = %call.call_id(),
            "`{function}` is fenced and returned Ok without calling `begin`: whether it took effect can't be known, \
             so its message is parked; use `transactional_message::begin`, or `withhold()` when there is nothing to send"
        );
        let why = "the function returned Ok without calling `begin` or `withhold`";
        let parked = rows(call, |id| Change::of(id).because(why).answered_by(AnsweredBy::Nobody));
        self.decide(Event::Park, parked.collect(), rest).await;
    }

    /// What has nothing more to it than the change.
    async fn decide(&self, event: Event, rows: Vec<Row>, rest: &mut Rest) {
        let tried = self.persist(event, &rows, None).await;
        let failed = rows.into_iter().zip(tried).filter(|(_, tried)| matches!(tried, Tried::Failed));
        rest.rows.push((event, failed.map(|(row, _)| row).collect()));
    }

    async fn persist(&self, event: Event, rows: &[Row], hold: Option<Hold>) -> Vec<Tried> {
        let changes: Vec<_> = rows.iter().map(|row| row.change.clone()).collect();
        let tried = persist(&self.core, Self::NAME, event, &changes, hold).await;
        for (change, tried) in changes.iter().zip(&tried) {
            if let Tried::Applied(Applied::Conflict(state), _) = tried {
                tracing::info!(id = %change.id, ?event, %state, "a report came after the message was decided otherwise");
            }
        }
        metrics::counter!("transactional_message_reports_total", "event" => event.target().name())
            .increment(changes.len() as u64);
        tried
    }

    fn let_go(&self, call: &LiveCall) {
        let ids: Vec<_> = call.ids().collect();
        self.core.leases.let_go(&ids);
    }
}

/// What is to be done about each message of a call.
fn rows(call: &LiveCall, change: impl Fn(MessageId) -> Change) -> impl Iterator<Item = Row> {
    call.halves.iter().map(move |half| Row { change: change(half.id), half: Arc::clone(half) })
}

#[async_trait]
impl Worker for Reporter {
    const NAME: &'static str = "reporter";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut next = Instant::now();
        loop {
            if self.pending.is_empty() {
                let Self { reports, pending, .. } = self;
                tokio::select! {
                    _ = reports.recv_many(pending, BATCH) => {}
                    () = stop.cancelled() => return self.run_once().await,
                }
            }
            tokio::time::sleep_until(next).await;
            next = Instant::now() + PACE;
            self.fill();
            self.work().await;
        }
    }
}
