//! Carries out what people have ordered about many messages, where nobody else does.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::admin::Admin;
use crate::call::calls::Shared;
use crate::worker::Worker;

/// How soon an operation is taken up that nobody carries out.
const EVERY: Duration = Duration::from_secs(5);
/// How long one is left to others that can't go on here.
const LEFT_FOR: Duration = Duration::from_mins(5);

/// Looks for operations, and carries them out, one after the other.
pub(crate) struct Operations {
    shared: Arc<Shared>,
    /// Those that can't go on here, and since when.
    left: HashMap<Uuid, Instant>,
    /// The last look did.
    failed: bool,
}

impl Operations {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, left: HashMap::new(), failed: false }
    }

    async fn look(&mut self) {
        self.left.retain(|_, since| since.elapsed() < LEFT_FOR);
        let due = match self.shared.held.store().due_operations().await {
            Ok(due) => due,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        %error,
                        "this process can't see what was ordered about many messages; it must be allowed to read and change \
                         the tables tm_operation and tm_operation_item"
                    );
                }
                return;
            }
        };
        self.failed = false;
        for id in due.into_iter().filter(|id| !self.left.contains_key(id)).collect::<Vec<_>>() {
            tracing::info!(%id, "carrying out an operation");
            match Admin::of(&self.shared).carry_out(id).await {
                Ok(operation) => {
                    let (progress, failures) = (operation.progress, operation.failures());
                    tracing::info!(%id, ?progress, done = operation.done, failures, "an operation came to its end here");
                }
                Err(error) => {
                    tracing::warn!(%id, %error, "an operation can't go on here: it is left to other processes for a while");
                    self.left.insert(id, Instant::now());
                }
            }
        }
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

#[async_trait]
impl Worker for Operations {
    const NAME: &'static str = "operations";

    async fn run(&mut self, stop: &CancellationToken) {
        loop {
            let work = async {
                // Pacing: whoever ordered it carries it out, as a rule.
                sleep(EVERY).await;
                self.look().await;
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
