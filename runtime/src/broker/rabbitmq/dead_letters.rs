//! Watches a consumer's dead letters. What is put there from here is logged when that happens; what RabbitMQ puts there
//! itself (a delivery limit, an expiry, a rejection by hand) shows only in their number.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::Connection;
use lapin::types::ShortString;
use tokio::time::sleep;

use super::establish::look_for;

/// How often they are counted.
const EVERY: Duration = Duration::from_secs(10);

/// How many there were, and how many of them were put there from here.
#[derive(Debug, Default)]
pub(super) struct DeadLetters(Mutex<Count>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    seen: Option<u32>,
    /// Put there since the last look, and between the last two: they show a little later.
    buried: u32,
    buried_before: u32,
}

impl DeadLetters {
    /// One goes there from here.
    pub(super) fn bury(&self) {
        self.with(|count| count.buried = count.buried.saturating_add(1));
    }

    /// Counts them again and again, for the metrics, and says when there are more than were put there from here. Not
    /// where they may not be looked at.
    pub(super) async fn watch(&self, connection: &Connection, queue: &ShortString) -> lapin::Error {
        loop {
            let ready = match look_for(connection, queue).await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            let name = queue.to_string();
            metrics::gauge!("transactional_message_dead_letters", "queue" => name).set(ready);
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

impl Count {
    /// How many came that were not put there from here.
    fn look(&mut self, ready: u32) -> u32 {
        let came = self.seen.replace(ready).map_or(0, |seen| ready.saturating_sub(seen));
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
    }
}
