//! The workers: background loops that are restarted when they panic.

pub(crate) mod alone;
pub(crate) mod checker;
pub(crate) mod gauges;
pub(crate) mod janitor;
pub(crate) mod lease_renewer;
pub(crate) mod pause_watcher;
pub(crate) mod pauses;
pub(crate) mod presence;
pub(crate) mod relay;
pub(crate) mod reporter;
pub(crate) mod transport_driver;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::telemetry::catalogue::WORKER_PANICS;

/// How long a worker that panicked rests before it goes on.
const REST: Duration = Duration::from_millis(200);

/// A busy worker begins no statement sooner than this after its last one: few statements with many
/// rows cost the database, which has other things to do, less than many with few. No caller waits.
const PACE: Duration = Duration::from_millis(2);

/// A background loop.
#[async_trait]
pub(crate) trait Worker: Send + 'static {
    const NAME: &'static str;

    /// Works until `stop`. Called again after a panic, with whatever state is left.
    async fn run(&mut self, stop: &CancellationToken);
}

/// Runs a worker in a task of its own, and again after a panic. Calls `ended` when the task ends before it was told to:
/// its runtime has ended, or somebody has aborted it.
pub(crate) fn supervise<W: Worker>(
    mut worker: W,
    stop: CancellationToken,
    ended: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    // There from now on, at 0.
    WORKER_PANICS.of(W::NAME);
    let untimely = Untimely { stop: stop.clone(), ended: Some(ended) };
    tokio::spawn(async move {
        let _untimely = untimely;
        while let Err(panic) = AssertUnwindSafe(worker.run(&stop)).catch_unwind().await {
            let what = panic_text(panic.as_ref());
            tracing::error!(worker = W::NAME, panic = what, "a worker panicked and is restarted");
            WORKER_PANICS.one(W::NAME).increment(1);
            tokio::time::sleep(REST).await;
        }
    })
}

/// Dropped with its task, sees whether it was told to end.
struct Untimely<F: FnOnce()> {
    stop: CancellationToken,
    ended: Option<F>,
}

impl<F: FnOnce()> Drop for Untimely<F> {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take()
            && !self.stop.is_cancelled()
        {
            ended();
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fragile {
        lives: u32,
        worked: tokio::sync::mpsc::UnboundedSender<u32>,
    }

    #[async_trait]
    impl Worker for Fragile {
        const NAME: &'static str = "fragile";

        async fn run(&mut self, stop: &CancellationToken) {
            self.lives -= 1;
            self.worked.send(self.lives).expect("somebody listens");
            assert_eq!(self.lives, 0, "dies with lives left");
            stop.cancelled().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_is_restarted_with_its_state() {
        let (worked, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let task = supervise(Fragile { lives: 3, worked }, stop.clone(), || panic!("it is told to"));
        for lives in [2, 1, 0] {
            assert_eq!(seen.recv().await, Some(lives));
        }
        stop.cancel();
        task.await.expect("ends when it is told to");
    }

    #[tokio::test]
    async fn a_worker_that_is_aborted_is_noticed() {
        let (worked, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let (ended, noticed) = tokio::sync::oneshot::channel();
        let end = || ended.send(()).expect("somebody listens");
        let task = supervise(Fragile { lives: 1, worked }, CancellationToken::new(), end);
        assert_eq!(seen.recv().await, Some(0));
        task.abort();
        noticed.await.expect("noticed");
    }
}
