//! The reporter: carries what bodies ended with to the store, until the store has it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::persist::{persist, until_stored};
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

/// A half message whose business action took effect, and its new payload, if it has one.
type Confirmed<'a> = (&'a Arc<Half>, &'a Option<Vec<u8>>);

/// Takes reports, oldest first, and brings each to the store.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) core: Arc<Core>,
    pub(crate) reports: UnboundedReceiver<Report>,
    /// Taken from the channel and not yet with the store; kept here over a panic.
    pub(crate) pending: Vec<Report>,
}

impl Reporter {
    /// Works on everything that is there now. Says how many reports that was.
    pub(crate) async fn run_once(&mut self) -> usize {
        while self.pending.len() < BATCH {
            match self.reports.try_recv() {
                Ok(report) => self.pending.push(report),
                Err(_) => break,
            }
        }
        self.work().await
    }

    async fn work(&mut self) -> usize {
        let mut confirmed = Vec::new();
        let mut cancelled = Vec::new();
        for report in &self.pending {
            match report.decision() {
                Decision::Confirm { amended } => confirmed.push((&*report.call, amended)),
                Decision::Cancel if report.ending == Ending::NeverRan => self.withdraw(&report.call).await,
                Decision::Cancel => cancelled.push(&*report.call),
                Decision::AskFence => self.ask_fence(&report.call),
                Decision::AskLater => self.ask_later(&report.call).await,
                Decision::ParkForgotten => self.park_forgotten(&report.call).await,
            }
        }
        self.confirm(&confirmed).await;
        let changes: Vec<_> = cancelled.iter().flat_map(|call| call.ids()).map(Change::of).collect();
        self.persist(Event::BodyCancels, &changes, None).await;
        std::mem::take(&mut self.pending).len()
    }

    /// Confirms. What has room at the relay is ours, and goes there; the rest, as when the broker is away, is
    /// anybody's from the first.
    async fn confirm(&self, calls: &[(&LiveCall, Option<Vec<u8>>)]) {
        let confirmed: Vec<Confirmed<'_>> = calls
            .iter()
            .flat_map(|(call, amended)| call.halves.iter().map(move |half| (half, amended)))
            .collect();
        let places = Places::reserve(&self.core, confirmed.len());
        let (ours, anybodys) = confirmed.split_at(places.len());
        self.confirm_some(ours, Some(places)).await;
        self.confirm_some(anybodys, None).await;
        if !confirmed.is_empty() {
            fault::point("confirmed");
        }
    }

    /// Confirms, and hands on what there are places for, unless it was confirmed before.
    async fn confirm_some(&self, confirmed: &[Confirmed<'_>], mut places: Option<Places<'_>>) {
        let changes: Vec<_> =
            confirmed.iter().map(|(half, amended)| Change::of(half.id).amended((*amended).clone())).collect();
        let hold = places.as_ref().map(|_| self.core.leases.hold());
        let applied = fault::pending("confirm-sent", self.persist(Event::BodyConfirms, &changes, hold)).await;
        for ((half, amended), applied) in confirmed.iter().zip(applied) {
            let half = half.amended(amended.as_ref());
            match applied {
                Applied::Moved => {}
                // A restored or failed-over store: the effect is there, so the message must be.
                Applied::Missing => {
                    tracing::warn!(id = %half.id, function = half.function, "a half message is gone from the store; it is stored anew, confirmed");
                    self.insert_anew(&half).await;
                }
                // Confirmed before, by a check-back or by an earlier try whose answer was lost.
                Applied::Already | Applied::Conflict(_) => continue,
            }
            if let Some(places) = &mut places {
                places.hand_on(half);
            }
        }
    }

    async fn insert_anew(&self, half: &Half) {
        let half = [half];
        until_stored(&self.core, Self::NAME, || {
            self.core.store.insert_confirmed(&half, self.core.leases.hold())
        })
        .await;
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

    async fn ask_later(&self, call: &LiveCall) {
        // From here on only the store knows of the messages: should they be gone from there, they are
        // stored again.
        let halves: Vec<_> = call.halves().collect();
        until_stored(&self.core, Self::NAME, || {
            self.core.store.insert_halves(&halves, self.core.leases.hold())
        })
        .await;
        let ids: Vec<_> = call.ids().collect();
        self.give_back(&ids, call.check_after, Some("nobody reported how the call ended")).await;
    }

    async fn park_forgotten(&self, call: &LiveCall) {
        let function = call.scope.function();
        tracing::error!(
            function,
            id = %call.call_id(),
            "`{function}` is fenced and returned Ok without calling `begin`: whether it took effect can't be known, \
             so its message is parked; use `transactional_message::begin`, or `withhold()` when there is nothing to send"
        );
        let why = "the function returned Ok without calling `begin` or `withhold`";
        let changes: Vec<_> =
            call.ids().map(|id| Change::of(id).because(why).answered_by(AnsweredBy::Nobody)).collect();
        self.persist(Event::Park, &changes, None).await;
    }

    /// Gives halves back, to be taken up after `after` by anyone.
    async fn give_back(&self, ids: &[MessageId], after: Duration, reason: Option<&str>) {
        let back = |id: &MessageId| Postponement {
            id: *id,
            held_by: self.core.leases.token(),
            after,
            attempts: Attempts::Keep,
            reason: reason.map(Into::into),
        };
        let back: Vec<_> = ids.iter().map(back).collect();
        // First: what is due again must not look as if it were still being worked on.
        self.core.leases.let_go(ids);
        until_stored(&self.core, Self::NAME, || self.core.store.postpone(&back)).await;
    }

    async fn persist(&self, event: Event, changes: &[Change], hold: Option<Hold>) -> Vec<Applied> {
        let applied = persist(&self.core, Self::NAME, event, changes, hold).await;
        for (change, applied) in changes.iter().zip(&applied) {
            if let Applied::Conflict(state) = applied {
                tracing::info!(id = %change.id, ?event, %state, "a report came after the message was decided otherwise");
            }
        }
        metrics::counter!("transactional_message_reports_total", "event" => event.target().name())
            .increment(changes.len() as u64);
        applied
    }

    fn let_go(&self, call: &LiveCall) {
        let ids: Vec<_> = call.ids().collect();
        self.core.leases.let_go(&ids);
    }
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
                    () = stop.cancelled() => {
                        while self.run_once().await > 0 {}
                        return;
                    }
                }
            }
            tokio::time::sleep_until(next).await;
            next = Instant::now() + PACE;
            self.run_once().await;
        }
    }
}
