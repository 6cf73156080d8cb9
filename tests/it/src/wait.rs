//! Waiting for something that can be seen.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::ProcessLog;

/// A bound on a hang, and no measure of speed: far more than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until `condition` holds, and panics with `what`, and the last lines of the log, when it never does.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let (started, _listening) = (Instant::now(), ProcessLog::get());
    while !condition().await {
        if started.elapsed() >= LIMIT {
            let log = ProcessLog::get().last_lines();
            panic!("waited {LIMIT:?} in vain for: {what}\nwhat this test logged last:\n{log}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a call whose body panics: nobody reports how it ended.
pub async fn vanish<T>(call: impl Future<Output = T>) {
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err(), "the body was to panic");
}
