//! Looks every few seconds at what persons have paused, and tells those who obey it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::pauses::InForce;
use crate::held::HeldStore;
use crate::message::Pausable;
use crate::settings::Settings;
use crate::telemetry::catalogue::PAUSED;

/// How soon a pause, or its early end, is noticed: after so many polls of what is due, and this time at the latest.
const EVERY: u32 = 10;
const LONGEST: Duration = Duration::from_secs(5);

/// How many messages are made due in one statement.
const WOKEN: u32 = 1000;

/// Tells consumers what is paused.
pub(crate) type Tell = Arc<dyn Fn() + Send + Sync>;

/// Looks at what is paused.
pub(crate) struct PauseWatcher {
    held: HeldStore,
    every: Duration,
    in_force: watch::Sender<Arc<[InForce]>>,
    tell: Tell,
    /// What the metrics say is paused.
    told: BTreeSet<String>,
    /// What ended before its time: by what messages say that were put off until then, and how often they are still to be
    /// made due. Twice: some may have been on their way back to the store.
    ended_early: Vec<(String, u32)>,
    /// The last look did.
    failed: bool,
}

impl PauseWatcher {
    pub(crate) fn new(
        settings: &Settings,
        held: &HeldStore,
        in_force: watch::Sender<Arc<[InForce]>>,
        tell: Tell,
    ) -> Self {
        let every = (settings.poll_interval * EVERY).min(LONGEST);
        Self {
            held: held.of(Self::NAME),
            every,
            in_force,
            tell,
            told: BTreeSet::new(),
            ended_early: Vec::new(),
            failed: false,
        }
    }

    /// Looks once. When the store is away, what is known of holds until it ends by itself.
    pub(crate) async fn look(&mut self) {
        let read = Instant::now();
        let failed = match self.held.store().pauses().await {
            Ok(pauses) => {
                self.obey(pauses.into_iter().map(|pause| InForce::of(pause, read)).collect());
                false
            }
            Err(error) => {
                if !self.failed {
                    tracing::warn!(
                        %error,
                        "this process can't see what is paused; it must be allowed to read the table tm_pause"
                    );
                }
                self.end_those_over();
                true
            }
        };
        self.failed = failed;
        self.wake().await;
    }

    /// Makes due what was put off for longer than its pause has lasted.
    async fn wake(&mut self) {
        for (mark, times) in &mut self.ended_early {
            *times -= 1;
            while matches!(self.held.store().wake(mark, WOKEN).await, Ok(1..)) {}
        }
        self.ended_early.retain(|(_, times)| *times > 0);
    }

    fn end_those_over(&mut self) {
        let now = Instant::now();
        let left = self.in_force.borrow().iter().filter(|pause| pause.until > now).cloned().collect();
        self.obey(left);
    }

    fn obey(&mut self, pauses: Vec<InForce>) {
        let names: BTreeSet<String> = pauses.iter().map(|pause| pause.what.to_string()).collect();
        for pause in pauses.iter().filter(|pause| !self.told.contains(&pause.what.to_string())) {
            tracing::warn!(what = %pause.what, reason = pause.reason, "paused");
        }
        for what in self.told.difference(&names) {
            tracing::info!(what, "goes on");
            PAUSED.one(what).set(0.0);
        }
        for what in &names {
            PAUSED.one(what).set(1.0);
        }
        self.told = names;
        let before = self.in_force.send_replace(pauses.into());
        (self.tell)();
        let pauses = self.in_force.borrow();
        for pause in before.iter() {
            let end =
                pauses.iter().find(|now| now.what == pause.what).map_or_else(Instant::now, |now| now.until);
            // Read at another moment, the same end is not quite the same.
            if end + self.every < pause.until {
                self.ended_early.push((pause.what.mark(), 2));
            }
        }
    }

    /// When to look again: at the end of a pause at the latest.
    fn next(&self) -> Instant {
        let ends = self.in_force.borrow().iter().map(|pause| pause.until).min();
        let soon = Instant::now() + self.every;
        ends.map_or(soon, |end| end.min(soon))
    }
}

impl fmt::Debug for PauseWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PauseWatcher").finish_non_exhaustive()
    }
}

#[async_trait]
impl Worker for PauseWatcher {
    const NAME: &'static str = "pause_watcher";

    async fn run(&mut self, stop: &CancellationToken) {
        if self.told.is_empty() {
            // There from now on, at 0.
            PAUSED.one(&Pausable::All.to_string()).set(0.0);
        }
        loop {
            tokio::select! {
                () = sleep_until(self.next()) => self.look().await,
                () = stop.cancelled() => return,
            }
        }
    }
}
