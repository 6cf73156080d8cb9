//! The link to the transport: whatever it does in the background, as a worker.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::core::Core;

/// Keeps the transport's connections and subscriptions going.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) core: Arc<Core>,
}

#[async_trait]
impl Worker for Link {
    const NAME: &'static str = "link";

    async fn run(&mut self, stop: &CancellationToken) {
        self.core.transport.run(stop).await;
    }
}
