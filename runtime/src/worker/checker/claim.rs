//! Claims halves that are due, and sorts them by what is to be done about each.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::asker::back;
use super::fence::UnresolvedHalf;
use super::handler::Question;
use super::{Checker, WINDOW};
use crate::fault;
use crate::message::{AnsweredBy, FenceId};
use crate::rules::answer::{ToTriage, Triage, triage};
use crate::store::{Attempts, ClaimLimits, ClaimedRow, Hold, Holder, StoreError};

/// Payload bytes claimed at once.
const BYTES: usize = 16 * 1024 * 1024;

impl Checker {
    /// Takes halves that are due, and asks about them: fences that are not being asked, and handlers as
    /// there is room, so that nobody who hangs keeps others from being asked.
    pub(super) async fn claim(&mut self) -> Result<(), StoreError> {
        self.claimed = Instant::now();
        self.more = false;
        if self.asker.pauses.of_check_backs() {
            return Ok(());
        }
        let unsettled = self.asking.len() + self.answers.len() + self.later.len();
        let mut room = WINDOW.saturating_sub(u32::try_from(unsettled).unwrap_or(WINDOW));
        if self.suspects.len() >= WINDOW as usize {
            room = 0;
        }
        let is_free =
            |who: &AnsweredBy| matches!(who, AnsweredBy::Fence(id) if self.fence_queues.is_free(*id));
        let fences: Vec<_> = self.asker.fences.answerers().into_iter().filter(is_free).collect();
        let handlers = self.asker.handlers.answerers(&self.asker.services);
        // For a fence a lease is long enough, and short if this process dies over the question: should
        // its answer take longer, another asker gets the same.
        let settings = self.asker.settings;
        let (fence, handler) = (settings.lease, settings.handler_timeout + settings.lease);
        self.claim_from(&fences, WINDOW, fence).await?;
        let count = self.claim_from(&handlers, room, handler).await?;
        self.more = room > 0 && is_many(count, room);
        Ok(())
    }

    async fn claim_from(
        &mut self,
        askable: &[AnsweredBy],
        rows: u32,
        lease: Duration,
    ) -> Result<usize, StoreError> {
        if rows == 0 || askable.is_empty() {
            return Ok(0);
        }
        let asker = &self.asker;
        // A token of its own: a body that takes its row back makes this claim's Cancel void.
        let hold = Hold { token: Holder::checkers_token(), lease };
        let limits = ClaimLimits { rows, bytes: BYTES, lapsed_before: asker.held.leases().lapsed_before() };
        let until = Instant::now() + lease;
        let claim = asker.held.store().claim_halves(askable, limits, hold).await?;
        let count = claim.rows.len();
        for row in claim.undecodable {
            asker.park(row.id, hold.token, None, format!("it can't be read: {}", row.why)).await;
        }
        let orphans = claim.rows.iter().filter(|row| row.taken_over.is_some()).count();
        if orphans > 0 {
            tracing::info!(orphans, "asking about half messages whose process vanished");
        }
        self.sort_out(claim.rows, hold, until).await;
        Ok(count)
    }

    /// A handler is about to answer for what another package stored under its name: two services that should have
    /// names, or one that was split or renamed. Nobody but an operator knows, so it is only said, and once.
    fn warn_of_stranger(&mut self, name: &str, row: &ClaimedRow) {
        let Some((ours, theirs)) = self.asker.handlers.stranger_to(name, &row.half) else { return };
        if self.strangers.insert((name.to_owned(), theirs.to_owned())) {
            tracing::warn!(
                handler = name,
                id = %row.half.id,
                service = row.half.service,
                "the check-back handler `{name}` of the package `{ours}` answers for a half message of the package \
                 `{theirs}`: if they are two services over one store, give each a name with `MessengerBuilder::service`"
            );
        }
    }

    async fn sort_out(&mut self, rows: Vec<ClaimedRow>, hold: Hold, until: Instant) {
        let held_by = hold.token;
        let asker = Arc::clone(&self.asker);
        let (budget, horizon) = (asker.settings.check_back_attempts, asker.settings.check_back_horizon);
        let count = rows.len();
        let mut by_fence: HashMap<FenceId, Vec<UnresolvedHalf>> = HashMap::new();
        let mut later = Vec::new();
        for row in rows {
            let id = row.half.id;
            let claimed = ToTriage {
                ours: asker.held.leases().holds(&id),
                taken_over: row.taken_over,
                attempts: row.attempts,
                age: row.age,
                check_after: row.half.check_after,
            };
            match triage(&row.half.answered_by, claimed, budget, horizon) {
                Triage::TakeBack => {
                    if let Err(error) = asker.held.store().renew(&[id], asker.held.hold()).await {
                        self.asker.held.log(&error);
                    }
                }
                Triage::AskFence(identity) => {
                    let unresolved =
                        UnresolvedHalf { half: row.half, held_by, attempts: row.attempts, committed: false };
                    by_fence.entry(identity).or_default().push(unresolved);
                }
                Triage::AskAlone(name) if !fault::bug("counted-at-the-claim") => {
                    let name = name.to_owned();
                    self.warn_of_stranger(&name, &row);
                    self.suspects.push(Question { name, row, hold, until });
                }
                Triage::AskHandler(name) | Triage::AskAlone(name) => {
                    if fault::bug("counted-at-the-claim") {
                        let _ = asker.held.store().enter(id, hold).await;
                    }
                    let name = name.to_owned();
                    self.warn_of_stranger(&name, &row);
                    let question = Question { name, row, hold, until };
                    self.asking.spawn(question.ask(Arc::clone(&asker)));
                }
                Triage::WaitFirst => {
                    let reason = "its process vanished".to_owned();
                    later.push(back(id, held_by, row.half.check_after, Attempts::Keep, reason));
                }
                Triage::TooOld => {
                    let name = Some(asker.name_of(&row.half.answered_by));
                    asker.park(id, held_by, name, "older than the setting `check_back_horizon`".into()).await;
                }
                Triage::UsedUp => {
                    let name = Some(asker.name_of(&row.half.answered_by));
                    asker.park(id, held_by, name, format!("asked {budget} times without an answer")).await;
                }
                Triage::Leave => {}
            }
        }
        self.suspects.sort_by_key(|suspect| Reverse(suspect.row.attempts));
        asker.held.give_back(later).await;
        for (identity, halves) in by_fence {
            self.fence_queues.ask(&asker, identity, halves, is_many(count, WINDOW));
        }
    }
}

/// So many that there may be more: the checker looks for them without waiting for the next poll.
const fn is_many(count: usize, room: u32) -> bool {
    count >= room.div_ceil(2) as usize
}
