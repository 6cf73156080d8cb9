//! What is paused, as this process knows it. By its own clock, so that a pause ends also while the store is away.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::message::Pausable;
use crate::store::Pause;
use crate::transport::Paused;

/// A pause that this process obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    pub(crate) what: Pausable,
    /// When it ends by itself.
    pub(crate) until: Instant,
    /// Of a message that is put off because of it.
    pub(crate) reason: String,
}

impl InForce {
    pub(super) fn of(pause: Pause, read: Instant) -> Self {
        let Pause { what, reason, user, remaining, .. } = pause;
        let reason = format!("{}{reason} ({user})", what.mark());
        Self { what, until: read + remaining, reason }
    }
}

/// What is paused now.
#[derive(Clone, Debug)]
pub(crate) struct Pauses(watch::Receiver<Arc<[InForce]>>);

impl Pauses {
    /// And what tells it.
    pub(crate) fn new() -> (watch::Sender<Arc<[InForce]>>, Self) {
        let (sender, receiver) = watch::channel(Arc::default());
        (sender, Self(receiver))
    }

    /// What keeps messages to this exchange from being delivered.
    pub(crate) fn of_exchange(&self, exchange: &str) -> Option<InForce> {
        self.longest(|what| matches!(what, Pausable::Exchange(name) if name == exchange))
    }

    /// What keeps anything from being taken from this queue.
    pub(crate) fn of_queue(&self, queue: &str) -> Option<Paused> {
        let pause = self.longest(|what| matches!(what, Pausable::Queue(name) if name == queue))?;
        Some(Paused { until: pause.until, reason: pause.reason })
    }

    pub(crate) fn of_check_backs(&self) -> bool {
        self.longest(|what| *what == Pausable::CheckBacks).is_some()
    }

    /// Of those that say so, and those of everything.
    fn longest(&self, is_meant: impl Fn(&Pausable) -> bool) -> Option<InForce> {
        let now = self.0.borrow();
        // Nearly always.
        if now.is_empty() {
            return None;
        }
        let began = Instant::now();
        let meant =
            |pause: &&InForce| pause.until > began && (pause.what == Pausable::All || is_meant(&pause.what));
        now.iter().filter(meant).max_by_key(|pause| pause.until).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn in_force(what: Pausable, seconds: u64) -> InForce {
        InForce { what, until: Instant::now() + Duration::from_secs(seconds), reason: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_that_is_meant_counts_until_it_ends() {
        let (sender, pauses) = Pauses::new();
        assert!(pauses.of_exchange("shop").is_none() && !pauses.of_check_backs());
        let exchange = in_force(Pausable::Exchange("shop".into()), 9);
        sender.send_replace(Arc::from([exchange.clone(), in_force(Pausable::Queue("books".into()), 5)]));
        assert_eq!(pauses.of_exchange("shop"), Some(exchange.clone()));
        assert!(pauses.of_exchange("books").is_none() && pauses.of_queue("books").is_some());
        assert!(!pauses.of_check_backs());
        sender.send_replace(Arc::from([exchange.clone(), in_force(Pausable::All, 5)]));
        assert_eq!(pauses.of_exchange("shop"), Some(exchange));
        assert!(pauses.of_check_backs() && pauses.of_queue("any").is_some());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!pauses.of_check_backs() && pauses.of_exchange("shop").is_some());
    }
}
