//! Waiting for something that can be seen.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

/// A bound on a hang, and no measure of speed: far more than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until `condition` holds, and panics with `what` when it never does.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a call whose body panics: nobody reports how it ended.
pub async fn vanish<T>(call: impl Future<Output = T>) {
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err(), "the body was to panic");
}
