//! Decisions about many messages: named beforehand, begun after a while, carried out one by one, a few first.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::{Admin, Part, refused};
use crate::error::{Error, ErrorKind};
use crate::message::{Evidence, MessageId};
use crate::store::{
    About, Action, Actor, Hold, ItemOutcome, NewOperation, Operation, OperationItem, Order, StoreError,
};

/// What nobody can overlook any more.
const MOST: usize = 100_000;
const LONGEST_DELAY: Duration = Duration::from_hours(24);
const HIGHEST_RATE: u32 = 10_000;

/// How long an operation is its process's that has not been heard of.
const LEASE: Duration = Duration::from_secs(30);
/// How often it says that it is there while it waits, and sees whether somebody has stopped the operation.
const HEARD_OF: Duration = Duration::from_secs(1);
/// Items that are read at once.
const PAGE: u32 = 100;

impl Admin<'_> {
    /// Orders a decision about many messages, an *operation*, and returns its id. The messages are those that the order names:
    /// what comes later does not belong to it. Nothing is done before the order's delay is over; then any process over the
    /// store carries it out, or [`carry_out`](Self::carry_out). Each message is decided as if it were alone, so an operation can
    /// do nothing that a single decision is refused, and each decision is kept in the audit.
    ///
    /// After the first message it waits, and looks whether that has failed again; so it does after 10 more, after 100 more, and so
    /// on. It stops by itself after too many failures, and [`stop_operation`](Self::stop_operation) stops it from anywhere. If its
    /// process is killed, another one goes on; no message is decided twice.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for an order without messages, with more than 100 000, without a reason, or with other impossible
    /// numbers; [`ErrorKind::Unavailable`].
    pub async fn order(self, order: &Order) -> Result<Uuid, Error> {
        if let Some(problem) = problem(order) {
            return Err(refused(format!("the operation can't be ordered: {problem}")));
        }
        let about = About::new(order, &self.entry(&order.reason, &Evidence::NoFence).actor);
        let mut messages: Vec<MessageId> = Vec::with_capacity(order.messages.len());
        let mut seen = std::collections::HashSet::new();
        messages.extend(order.messages.iter().filter(|id| seen.insert(**id)));
        let operation = NewOperation {
            id: Uuid::now_v7(),
            about: about.to_json(),
            begins_in: order.begins_in,
            items: messages.into_iter().map(|id| (id, Uuid::now_v7())).collect(),
        };
        let id = operation.id;
        match self.store().order(&operation).await {
            Ok(()) => Ok(id),
            // What was lost may be the answer, and not the order.
            Err(cause @ (StoreError::TimedOut(_) | StoreError::Unavailable(_))) => Err(cause.into_error(&format!(
                "the store did not confirm the operation {id}, which may begin all the same; look for it before you order it again"
            ))),
            Err(cause) => Err(cause.into_error("the operation could not be ordered")),
        }
    }

    /// The newest operations, below `before` if given, at most `limit`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn operations(self, before: Option<Uuid>, limit: u32) -> Result<Vec<Operation>, Error> {
        self.store().operations(before, limit).await.map_err(unreadable)
    }

    /// One operation.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn operation(self, id: Uuid) -> Result<Option<Operation>, Error> {
        self.store().operation(id).await.map_err(unreadable)
    }

    /// The messages of an operation, and what became of each: those beyond the place `beyond`, at most `limit`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn operation_items(
        self,
        id: Uuid,
        beyond: u64,
        limit: u32,
    ) -> Result<Vec<OperationItem>, Error> {
        self.store().items(id, beyond, false, limit).await.map_err(unreadable)
    }

    /// Stops an operation, whoever carries it out: before its next message. What was done is done. Says whether it was not over.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such operation; [`ErrorKind::Unavailable`].
    pub async fn stop_operation(self, id: Uuid, reason: &str) -> Result<bool, Error> {
        let Actor { user, via } = self.entry(reason, &Evidence::NoFence).actor;
        let stopped = format!("by {user} ({via}): {reason}");
        let is_stopped = self.end(id, Some(&stopped)).await?;
        // The answer to a first try may have been lost.
        Ok(is_stopped || self.known_operation(id).await?.stopped == Some(stopped))
    }

    async fn end(self, id: Uuid, stopped: Option<&str>) -> Result<bool, Error> {
        let ended = match self.store().end_operation(id, stopped).await {
            // The database can't hold the text.
            Err(StoreError::Refused(_)) => {
                let plain = stopped.map(|text| text.chars().filter(char::is_ascii).collect::<String>());
                self.store().end_operation(id, plain.as_deref()).await
            }
            ended => ended,
        };
        ended.map_err(|cause| cause.into_error("the operation could not be ended"))
    }

    /// Carries out an operation, or goes on with one that was interrupted: until it is over, was stopped, or is somebody else's.
    /// Waits until it begins. Returns how far it is.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such operation, or some of it needs a fence that this messenger lacks: the rest is done;
    /// [`ErrorKind::Unavailable`]: it is taken up again, by any process.
    ///
    /// # Cancel safety
    /// Cancel safe: half a minute later another process goes on.
    pub async fn carry_out(self, id: Uuid) -> Result<Operation, Error> {
        let hold = Hold { token: Uuid::new_v4(), lease: LEASE };
        let mut operation = self.known_operation(id).await?;
        while operation.ended_at.is_none() && !operation.begins_in.is_zero() {
            sleep(operation.begins_in.min(HEARD_OF)).await;
            operation = self.known_operation(id).await?;
        }
        if self.is_ours(id, hold).await?
            && let Err(error) = self.go_on(&operation, hold).await
        {
            let _ = self.store().leave_operation(id, hold).await;
            return Err(error);
        }
        self.known_operation(id).await
    }

    async fn known_operation(self, id: Uuid) -> Result<Operation, Error> {
        self.operation(id).await?.ok_or_else(|| refused(format!("there is no operation {id}")))
    }

    async fn is_ours(self, id: Uuid, hold: Hold) -> Result<bool, Error> {
        let taken = self.store().take_operation(id, hold).await;
        taken.map_err(|cause| cause.into_error("the operation could not go on"))
    }

    async fn go_on(self, operation: &Operation, hold: Hold) -> Result<(), Error> {
        let id = operation.id;
        let mut pace = interval(Duration::from_secs(1) / operation.per_second.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut beyond, mut elsewhere) = (0, None);
        // Whoever had it before was perhaps cut off before this look.
        if operation.decided() > 0 && !self.look(operation, hold).await? {
            return Ok(());
        }
        loop {
            let items = self.store().items(id, beyond, true, PAGE).await.map_err(unreadable)?;
            if items.is_empty() {
                return match elsewhere {
                    None => self.end(id, None).await.map(drop),
                    Some(error) => Err(error),
                };
            }
            for item in items {
                pace.tick().await;
                beyond = item.position;
                if !self.is_ours(id, hold).await? {
                    return Ok(());
                }
                if let Err(error) = self.needs_its_fence(operation, item.message_id).await {
                    // For a process that has it; the others are done here.
                    elsewhere = Some(error);
                    continue;
                }
                let outcome = self.settle_one(operation, &item).await?;
                let goes_on = if is_step(item.position) {
                    self.look(operation, hold).await?
                } else {
                    outcome == ItemOutcome::Done || !self.has_failed(operation).await?
                };
                if !goes_on {
                    return Ok(());
                }
            }
        }
    }

    /// Decides about a message, and notes what became of that.
    async fn settle_one(self, operation: &Operation, item: &OperationItem) -> Result<ItemOutcome, Error> {
        let (id, position) = (operation.id, item.position);
        let (outcome, why) = self.decide_one(operation, item).await?;
        let mut settled = self.store().settle_item(id, position, outcome, why.as_deref()).await;
        if matches!(settled, Err(StoreError::Refused(_))) {
            // The database can't hold the text.
            let plain = why.map(|why| why.chars().filter(char::is_ascii).collect::<String>());
            settled = self.store().settle_item(id, position, outcome, plain.as_deref()).await;
        }
        settled.map_err(|cause| cause.into_error("the operation could not go on"))?;
        Ok(outcome)
    }

    /// Waits until it is known how what was done was received, and says whether it goes on.
    async fn look(self, operation: &Operation, hold: Hold) -> Result<bool, Error> {
        Ok(self.wait_and_be_heard_of(operation, hold).await? && !self.has_failed(operation).await?)
    }

    /// `false`: it is not ours any more.
    async fn wait_and_be_heard_of(self, operation: &Operation, hold: Hold) -> Result<bool, Error> {
        let mut left =
            if operation.action == Action::Cancel.name() { Duration::ZERO } else { operation.look_for };
        while !left.is_zero() {
            let now = left.min(HEARD_OF);
            sleep(now).await;
            left -= now;
            if !self.is_ours(operation.id, hold).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stops it if it has failed too often.
    async fn has_failed(self, operation: &Operation) -> Result<bool, Error> {
        let now = self.known_operation(operation.id).await?;
        let failures = now.failures();
        if failures <= operation.stop_after_failures {
            return Ok(false);
        }
        let why = format!(
            "by itself: {failures} failures ({} refused, {} failed, {} failed again)",
            now.refused, now.failed, now.failed_again
        );
        self.end(operation.id, Some(&why)).await?;
        Ok(true)
    }

    async fn decide_one(
        self,
        operation: &Operation,
        item: &OperationItem,
    ) -> Result<(ItemOutcome, Option<String>), Error> {
        if self.is_decided(item).await? {
            // By whoever was interrupted over it.
            return Ok((ItemOutcome::Done, None));
        }
        let actor = Actor::new(&operation.user, &operation.via);
        let part = Some(Part { operation: operation.id, record: item.record_id });
        let admin = Admin { calls: self.calls, actor: Some(&actor), part };
        let (id, reason) = (item.message_id, &operation.reason);
        let decided = match Action::ALL.into_iter().find(|action| action.name() == operation.action) {
            Some(Action::Retry) => admin.retry(id, reason).await,
            Some(Action::Confirm) => admin.confirm(id, reason).await,
            Some(Action::Cancel) => admin.cancel(id, reason).await,
            // Of a newer version, which carries it out.
            _ => return Err(refused(format!("this version knows no `{}`", operation.action))),
        };
        match decided {
            Ok(()) => Ok((ItemOutcome::Done, None)),
            // Somebody else who holds it, too, was faster.
            Err(_) if self.is_decided(item).await? => Ok((ItemOutcome::Done, None)),
            Err(error) if error.kind() == ErrorKind::Refused => {
                Ok((ItemOutcome::Refused, Some(error.to_string())))
            }
            // The store's fault, or this process's, and not the message's.
            Err(error) if error.is_retryable() || error.kind() == ErrorKind::Schema => Err(error),
            Err(error) => Ok((ItemOutcome::Failed, Some(error.to_string()))),
        }
    }

    async fn is_decided(self, item: &OperationItem) -> Result<bool, Error> {
        let recorded = self.store().is_recorded(item.record_id).await;
        recorded.map_err(|cause| cause.into_error("the operation could not go on"))
    }

    /// Errs where the decision takes a fence that this messenger lacks.
    async fn needs_its_fence(self, operation: &Operation, id: MessageId) -> Result<(), Error> {
        if operation.action == Action::Retry.name() {
            return Ok(());
        }
        match self.find(id).await? {
            Some(message) => self.fence_of(&message).map(drop),
            None => Ok(()),
        }
    }
}

fn unreadable(cause: StoreError) -> Error {
    cause.into_error("the operation could not be read")
}

/// After the first, after 10 more, after 100 more, and so on.
fn is_step(position: u64) -> bool {
    let mut step = 1;
    let mut sum = 1;
    while sum < position {
        step *= 10;
        sum += step;
    }
    sum == position
}

fn problem(order: &Order) -> Option<String> {
    let Order { action, reason, messages, begins_in, per_second, look_for, .. } = order;
    if !matches!(action, Action::Confirm | Action::Cancel | Action::Retry) {
        return Some(format!("`{action}` is no decision about messages"));
    }
    if reason.trim().is_empty() {
        return Some("it needs a reason, for those who look into it later".into());
    }
    if messages.is_empty() || messages.len() > MOST {
        return Some(format!("it must be about 1 to {MOST} messages, and is about {}", messages.len()));
    }
    if *begins_in > LONGEST_DELAY || *look_for > LONGEST_DELAY {
        return Some("it can't wait longer than a day".into());
    }
    if !(1..=HIGHEST_RATE).contains(per_second) {
        return Some(format!("the rate must be 1 to {HIGHEST_RATE} messages a second"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow() {
        let steps: Vec<_> = (1..=2000).filter(|position| is_step(*position)).collect();
        assert_eq!(steps, [1, 11, 111, 1111]);
    }

    #[test]
    fn an_order_that_makes_no_sense_is_refused() {
        let order = |action| Order::new(action, vec![MessageId::new()], "why");
        assert_eq!(problem(&order(Action::Retry)), None);
        for (order, expected) in [
            (order(Action::View), "no decision"),
            (Order::new(Action::Retry, Vec::new(), "why"), "1 to 100000 messages"),
            (Order::new(Action::Retry, vec![MessageId::new()], " "), "needs a reason"),
            (order(Action::Cancel).per_second(0), "the rate"),
            (order(Action::Cancel).begins_in(Duration::MAX), "longer than a day"),
        ] {
            assert!(problem(&order).is_some_and(|problem| problem.contains(expected)), "{expected}");
        }
    }
}
