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

/// How many messages are made due in one statement, and how soon the next one follows.
const WOKEN: u32 = 1000;
const AT_WORK: Duration = Duration::from_millis(100);

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
    /// What ended, or ends sooner than it did: by what messages say that were put off until then, and how often it is still to
    /// be found that there are none. Twice: some may be on their way back to the store.
    ended: Vec<(String, u32)>,
    /// There may be more of it.
    at_work: bool,
    /// There was no look yet.
    is_first: bool,
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
            ended: Vec::new(),
            at_work: false,
            is_first: true,
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

    /// Makes due what was put off for longer than its pause has lasted: some of it now, the rest at the next looks.
    async fn wake(&mut self) {
        let mut left = Vec::new();
        self.at_work = false;
        for (mark, mut times) in std::mem::take(&mut self.ended) {
            match self.held.store().wake(&mark, WOKEN).await {
                Ok(0) => times -= 1,
                Ok(_) => self.at_work = true,
                Err(error) => {
                    tracing::debug!(%error, mark, "what was put off could not be made due, and is later");
                }
            }
            if times > 0 {
                left.push((mark, times));
            }
        }
        // A pause that ended while this one was asking may have been added.
        self.ended.extend(left);
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
            let now = pauses.iter().find(|now| now.what == pause.what);
            // Read at another moment, the same end is not quite the same.
            if now.is_none_or(|now| now.until + self.every < pause.until) {
                self.ended.push((pause.what.mark(), 2));
            }
        }
        // What a pause has put off that nobody was there to see the end of.
        if std::mem::take(&mut self.is_first) && pauses.is_empty() {
            self.ended.push((Pausable::MARK.to_owned(), 1));
        }
    }

    /// When to look again: at the end of a pause at the latest.
    fn next(&self) -> Instant {
        let ends = self.in_force.borrow().iter().map(|pause| pause.until).min();
        let soon = Instant::now() + if self.at_work { self.every.min(AT_WORK) } else { self.every };
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
            let work = async {
                sleep_until(self.next()).await;
                self.look().await;
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
