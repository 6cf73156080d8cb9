//! The reporter: carries what bodies ended with to the store, until the store has it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::relay::slots::{RelayQueue, RelaySlots};
use super::{PACE, Worker};
use crate::call::live::{LiveCall, Report};
use crate::fault;
use crate::held::{HeldStore, Row, Tried};
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, CallId, Half, MessageId};
use crate::rules::ending::{Decision, Ending};
use crate::store::{Hold, Release, Transition};
use crate::telemetry;
use crate::telemetry::catalogue::{BATCH_MESSAGES, OVERRULED, REPORTS};
use crate::telemetry::labels::{Batch, Overruler, Reported};

/// Reports taken in one go.
const BATCH: usize = 256;

/// Takes reports, oldest first, and brings each to the store.
#[derive(Debug)]
pub(crate) struct Reporter {
    held: HeldStore,
    relay: RelayQueue,
    /// To the checker: calls whose fence is to be asked now.
    questions: UnboundedSender<Arc<LiveCall>>,
    reports: UnboundedReceiver<Report>,
    /// Taken from the channel and not yet with the store; kept here over a panic.
    pending: Vec<Report>,
    /// What the store failed over, or has lost: brought to it beside the others.
    pursuits: JoinSet<()>,
}

/// What a batch of reports asks for, by what is to be done.
#[derive(Default)]
struct Decided {
    confirmed: Vec<Row>,
    cancelled: Vec<Row>,
    /// Of calls whose body never ran.
    withdrawn: Vec<Transition>,
    /// Left to their handlers.
    left: Vec<(Arc<Half>, Release)>,
    /// Nobody can answer for them.
    forgotten: Vec<Row>,
}

/// What the store failed over, or has lost.
#[derive(Default)]
struct Rest {
    rows: Vec<(Event, Vec<Row>)>,
    anew: Vec<Arc<Half>>,
    left: Vec<(Arc<Half>, Release)>,
    /// Of fenced calls that took effect: the store has failed over, perhaps.
    doubtful: Vec<Arc<Half>>,
}

impl Reporter {
    pub(crate) fn new(
        held: &HeldStore,
        relay: RelayQueue,
        questions: UnboundedSender<Arc<LiveCall>>,
        reports: UnboundedReceiver<Report>,
    ) -> Self {
        let held = held.of(Self::NAME);
        Self { held, relay, questions, reports, pending: Vec::new(), pursuits: JoinSet::new() }
    }

    /// Gives the ends of a channel that goes between the calls and this: for a test that loses reports.
    #[cfg(feature = "testing")]
    pub(crate) fn intercept(&mut self) -> (UnboundedReceiver<Report>, UnboundedSender<Report>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (std::mem::replace(&mut self.reports, receiver), sender)
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
        BATCH_MESSAGES.at(Batch::Report).record(telemetry::count(self.pending.len()));
        let mut decided = Decided::default();
        for report in &self.pending {
            self.decide(report, &mut decided);
        }
        let Decided { confirmed, cancelled, withdrawn, left, forgotten } = decided;
        let mut rest = Rest::default();
        // Should a confirm panic, again and again, these are done all the same.
        self.withdraw(withdrawn).await;
        rest.left = self.held.leave(left).await;
        self.settle(Event::Park, forgotten, &mut rest).await;
        self.confirm(confirmed, &mut rest).await;
        self.settle(Event::CancelFinal, cancelled, &mut rest).await;
        let doubtful = self.calls_of(std::mem::take(&mut rest.doubtful)).collect();
        self.pending.clear();
        self.ask_about(doubtful);
        self.pursue(rest);
    }

    fn decide(&self, report: &Report, decided: &mut Decided) {
        let call = &report.call;
        match report.decision() {
            Decision::Confirm { amended } => {
                let confirm = |id| Transition::of(id).amended(amended.clone());
                // It may have taken effect while another server took over.
                let fenced = |id| confirm(id).undisturbed_since(call.troubles);
                let confirmed = &mut decided.confirmed;
                match call.fence() {
                    Some(_) => confirmed.extend(rows(call, fenced)),
                    // Nobody else knows better whether it took effect.
                    None => confirmed.extend(rows(call, confirm)),
                }
            }
            Decision::Cancel if report.ending == Ending::NeverRan => {
                decided.withdrawn.extend(call.ids().map(Transition::of));
            }
            Decision::Cancel => decided.cancelled.extend(rows(call, Transition::of)),
            Decision::AskFence | Decision::AwaitCommit => self.ask(Arc::clone(call)),
            Decision::AskLater => {
                let reason = Some("nobody reported how the call ended".into());
                let back =
                    |id| Release { after: call.check_after, reason: reason.clone(), ..self.held.release(id) };
                decided.left.extend(call.halves.iter().map(|half| (Arc::clone(half), back(half.id))));
            }
            Decision::ParkForgotten => {
                log_forgotten(call);
                let why = format!("the function returned Ok without calling {} or `withhold`", missing(call));
                let park = |id| Transition::of(id).because(why.clone()).answered_by(AnsweredBy::Nobody);
                decided.forgotten.extend(rows(call, park));
            }
        }
    }

    fn ask(&self, call: Arc<LiveCall>) {
        if let Err(SendError(call)) = self.questions.send(call) {
            self.held.let_go(call.ids());
        }
    }

    /// The calls that halves belong to.
    fn calls_of(&self, halves: Vec<Arc<Half>>) -> impl Iterator<Item = (Arc<LiveCall>, Vec<Arc<Half>>)> {
        let mut by_call: HashMap<CallId, Vec<Arc<Half>>> = HashMap::new();
        for half in halves {
            by_call.entry(half.call_id).or_default().push(half);
        }
        self.pending.iter().filter_map(move |report| {
            let call_id = report.call.halves.first()?.call_id;
            Some((Arc::clone(&report.call), by_call.remove(&call_id)?))
        })
    }

    /// Calls that took effect, which the store could not be told at once, or of which it knows nothing. If it has failed
    /// over, their business database may have done so, too, and have lost the action, even where the half survived. So the
    /// fence is asked. Until it answers, the halves are in the store, where others find them should this process end.
    fn ask_about(&mut self, calls: Vec<(Arc<LiveCall>, Vec<Arc<Half>>)>) {
        for (call, halves) in calls {
            let (held, questions) = (self.held.clone(), self.questions.clone());
            self.pursuits.spawn(async move {
                held.store_again(&halves).await;
                if let Err(SendError(call)) = questions.send(Arc::new(call.with(halves))) {
                    held.let_go(call.ids());
                }
            });
        }
    }

    /// Goes on beside the others with what the store failed over, or has lost.
    fn pursue(&mut self, rest: Rest) {
        let Rest { rows, anew, left, .. } = rest;
        while self.pursuits.try_join_next().is_some() {}
        for (event, rows) in rows.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let held = self.held.clone();
            self.pursuits.spawn(async move { held.pursue(event, rows).await });
        }
        for half in anew {
            let held = self.held.clone();
            self.pursuits.spawn(async move { held.store_anew(&half).await });
        }
        if !left.is_empty() {
            let held = self.held.clone();
            self.pursuits.spawn(async move { held.leave_all(left).await });
        }
    }

    /// Confirms. What the relay has slots for is ours, and goes there; the rest, as when the broker is away, is anybody's
    /// from the first.
    async fn confirm(&self, confirmed: Vec<Row>, rest: &mut Rest) {
        if confirmed.is_empty() {
            return;
        }
        // What counts on the same connections goes together, and nothing with a delay to the relay.
        let mut groups: BTreeMap<(Option<u64>, bool), Vec<Row>> = BTreeMap::new();
        for row in confirmed {
            groups.entry((row.transition.undisturbed_since, is_delayed(&row))).or_default().push(row);
        }
        for ((_, is_delayed), mut rows) in groups {
            if is_delayed {
                self.confirm_some(rows, None, rest).await;
                continue;
            }
            let slots = self.relay.reserve(rows.iter().map(Row::size));
            let anybodys = rows.split_off(slots.len());
            self.confirm_some(rows, Some(slots), rest).await;
            self.confirm_some(anybodys, None, rest).await;
        }
        fault::point("confirmed");
    }

    /// Confirms, and hands on what there are slots for, unless it was confirmed before.
    async fn confirm_some(&self, rows: Vec<Row>, mut slots: Option<RelaySlots<'_>>, rest: &mut Rest) {
        if rows.is_empty() {
            return;
        }
        let hold = slots.as_ref().map(|_| self.held.hold());
        let mut failed = Vec::new();
        let tried = fault::pending("confirm-sent", self.apply(Event::BodyConfirms, &rows, hold)).await;
        for (row, tried) in rows.into_iter().zip(tried) {
            match tried {
                Tried::Applied(Applied::Moved, deadline) => {
                    if let Some(slots) = &mut slots {
                        slots.enqueue(row.amended(), deadline);
                    }
                }
                Tried::Applied(Applied::Missing, _) | Tried::Failed if is_fenced(&row) => {
                    rest.doubtful.push(row.half);
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

    /// Halves whose caller left before the body ran: if this is lost, check-back settles them.
    async fn withdraw(&self, withdrawn: Vec<Transition>) {
        if withdrawn.is_empty() {
            return;
        }
        if let Err(error) = self.held.store().transition(Event::CancelFinal, &withdrawn, None).await {
            self.held.log(&error);
        }
        self.held.let_go(withdrawn.iter().map(|transition| transition.id));
    }

    /// What has nothing more to it than the transition.
    async fn settle(&self, event: Event, rows: Vec<Row>, rest: &mut Rest) {
        if rows.is_empty() {
            return;
        }
        let tried = self.apply(event, &rows, None).await;
        let failed = rows.into_iter().zip(tried).filter(|(_, tried)| matches!(tried, Tried::Failed));
        rest.rows.push((event, failed.map(|(row, _)| row).collect()));
    }

    async fn apply(&self, event: Event, rows: &[Row], hold: Option<Hold>) -> Vec<Tried> {
        let transitions: Vec<_> = rows.iter().map(|row| row.transition.clone()).collect();
        let tried = self.held.settle(event, &transitions, hold).await;
        for ((transition, row), tried) in transitions.iter().zip(rows).zip(&tried) {
            let Tried::Applied(Applied::Conflict(state), _) = tried else { continue };
            // Nobody has said otherwise of a half that was parked.
            if !matches!(state, MessageState::Half | MessageState::Parked) {
                OVERRULED.at(if is_fenced(row) { Overruler::Fence } else { Overruler::Handler }).increment(1);
            }
            tracing::info!(id = %transition.id, ?event, %state, "a report came after the message was decided otherwise");
        }
        REPORTS.at(reported(event)).increment(transitions.len() as u64);
        tried
    }
}

const fn reported(event: Event) -> Reported {
    match event.target() {
        MessageState::Confirmed => Reported::Confirmed,
        MessageState::Parked => Reported::Parked,
        _ => Reported::Cancelled,
    }
}

fn is_delayed(row: &Row) -> bool {
    row.half.message.schedule.not_before.is_some()
}

fn is_fenced(row: &Row) -> bool {
    matches!(row.half.answered_by, AnsweredBy::Fence(_))
}

fn log_forgotten(call: &LiveCall) {
    let (function, missing) = (call.scope.function(), missing(call));
    tracing::error!(
        function,
        "`{function}` is fenced and returned Ok without calling {missing}: whether it took effect can't be known; use \
         `transactional_message::begin`, or `enter` and its `done`, or `withhold()` when there is nothing to send"
    );
}

fn missing(call: &LiveCall) -> &'static str {
    if call.scope.has_entered() { "`done`" } else { "`begin`" }
}

/// What is to be done about each message of a call.
fn rows(call: &LiveCall, transition: impl Fn(MessageId) -> Transition) -> impl Iterator<Item = Row> {
    call.halves.iter().map(move |half| Row { transition: transition(half.id), half: Arc::clone(half) })
}

#[async_trait]
impl Worker for Reporter {
    const NAME: &'static str = "reporter";

    async fn run(&mut self, stop: &CancellationToken) {
        let mut next = Instant::now();
        loop {
            if self.pending.is_empty() {
                let Self { reports, pending, .. } = self;
                // Once the last call is gone, there is only the end to wait for.
                let is_open = !(reports.is_closed() && reports.is_empty());
                tokio::select! {
                    _ = reports.recv_many(pending, BATCH), if is_open => {}
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
