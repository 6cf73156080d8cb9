//! Watches a consumer's queues. What is put to the dead letters from here is logged when that happens; what RabbitMQ puts
//! there itself (a delivery limit, an expiry, a rejection by hand) shows only in their number.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::Connection;
use tokio::time::sleep;

use super::establish::{look_for, look_for_all};
use super::topology::Queues;
use crate::telemetry::Handles;
use crate::telemetry::catalogue::{DEAD_LETTERS, QUEUE_MESSAGES};
use crate::telemetry::labels::QueueKind;

/// How often they are counted.
const EVERY: Duration = Duration::from_secs(10);

/// How many there were, and how many of them were put there from here.
#[derive(Debug, Default)]
pub(super) struct DeadLetters(Mutex<Count>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    seen: Option<u32>,
    /// At the look before: whoever looks at dead letters, or redrives them, takes them for a moment.
    seen_before: u32,
    /// Put there since the last look, and between the last two: they show a little later.
    buried: u32,
    buried_before: u32,
}

impl DeadLetters {
    /// One goes there from here.
    pub(super) fn bury(&self) {
        self.with(|count| count.buried = count.buried.saturating_add(1));
    }

    /// Counts them again and again, for the metrics, and says when there are more than were put there from here. Counts
    /// what is in the consumer's other queues, too. Not where they may not be looked at.
    pub(super) async fn watch(&self, connection: &Connection, queues: &Queues) -> lapin::Error {
        let queue = &queues.dead;
        let mut may_look_at_others = true;
        loop {
            let ready = match look_for(connection, queue).await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            DEAD_LETTERS.one(queue.as_str()).set(ready);
            let counts = QUEUE_MESSAGES.of(queues.main.as_str());
            counts.at(QueueKind::Dead).set(ready);
            // The broker logs each refusal: it is asked for no second one.
            may_look_at_others =
                may_look_at_others && count_others(connection, queues, &counts).await.is_ok();
            let unexplained = self.with(|count| count.look(ready));
            if unexplained > 0 {
                tracing::warn!(
                    %queue,
                    ready,
                    unexplained,
                    "dead letters came that this process did not put there. Another process may have: its log says why. \
                     Those that RabbitMQ put there itself (delivery limit, expiry, rejection) have the header `x-death`, \
                     and no `x-tm-reason`"
                );
            }
            sleep(EVERY).await;
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Count) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What waits for the consumer, and for another attempt.
async fn count_others(
    connection: &Connection,
    queues: &Queues,
    counts: &Handles<metrics::Gauge, QueueKind>,
) -> Result<(), lapin::Error> {
    counts.at(QueueKind::Ready).set(look_for(connection, &queues.main).await?);
    let retry: Vec<_> = queues.retry.iter().map(|(queue, _)| queue).collect();
    counts.at(QueueKind::Retry).set(look_for_all(connection, &retry).await?);
    Ok(())
}

impl Count {
    /// How many came that were not put there from here.
    fn look(&mut self, ready: u32) -> u32 {
        let came = self.seen.replace(ready).map_or(0, |seen| {
            let known = seen.max(self.seen_before);
            self.seen_before = seen;
            ready.saturating_sub(known)
        });
        let unexplained = came.saturating_sub(self.buried_before.saturating_add(self.buried));
        self.buried_before = self.buried.saturating_sub(came.saturating_sub(self.buried_before));
        self.buried = 0;
        unexplained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_from_elsewhere_is_unexplained() {
        let mut count = Count::default();
        assert_eq!(count.look(7), 0, "nobody knows since when");
        assert_eq!(count.look(9), 2);
        count.buried = 2;
        assert_eq!(count.look(10), 0);
        assert_eq!(count.look(11), 0, "the second one shows later");
        assert_eq!(count.look(12), 1);
        count.buried = 1;
        assert_eq!(count.look(0), 0, "somebody took them");
        assert_eq!(count.look(0), 0);
        assert_eq!(count.look(1), 1);
        assert_eq!((count.look(0), count.look(1)), (0, 0), "somebody looked at it");
    }
}
