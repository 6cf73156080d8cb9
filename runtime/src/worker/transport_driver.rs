//! The transport driver: whatever a transport does in the background, as a worker.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::transport::Transport;

/// Keeps the transport's connections and subscriptions going.
#[derive(Debug)]
pub(crate) struct TransportDriver {
    pub(crate) transport: Arc<dyn Transport>,
}

#[async_trait]
impl Worker for TransportDriver {
    const NAME: &'static str = "transport_driver";

    async fn run(&mut self, stop: &CancellationToken) {
        self.transport.run(stop).await;
    }
}
