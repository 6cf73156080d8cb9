//! Waiting for something that can be seen.

use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, and panics with `what` when it never does.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
