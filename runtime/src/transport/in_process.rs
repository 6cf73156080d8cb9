//! Delivery within the process: the embedded default.
//!
//! A message goes to every queue with a matching binding, and is acknowledged when each of them
//! has handled it. Nothing is kept here: a message that fails stays in the store, and comes again.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::{Delivery, Handled, Outgoing, Pattern, Publication, Transport};

/// How many deliveries wait at a queue before publishers do.
const QUEUE_LENGTH: usize = 256;

/// Exchanges and queues of one process.
#[derive(Debug, Default)]
pub(crate) struct InProcess {
    queues: Mutex<Vec<Queue>>,
}

#[derive(Clone, Debug)]
struct Queue {
    bindings: Vec<(String, Pattern)>,
    deliveries: mpsc::Sender<Delivery>,
}

impl InProcess {
    /// Opens a queue. `bindings`: exchange and topic pattern.
    pub(crate) fn subscribe(&self, bindings: &[(String, String)]) -> mpsc::Receiver<Delivery> {
        let (deliveries, receiver) = mpsc::channel(QUEUE_LENGTH);
        let bindings =
            bindings.iter().map(|(exchange, pattern)| (exchange.clone(), Pattern::new(pattern))).collect();
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Queue { bindings, deliveries });
        receiver
    }

    fn route(&self, exchange: &str, routing_key: &str) -> Vec<mpsc::Sender<Delivery>> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = |queue: &&Queue| {
            queue.bindings.iter().any(|(name, pattern)| name == exchange && pattern.matches(routing_key))
        };
        queues.iter().filter(bound).map(|queue| queue.deliveries.clone()).collect()
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn publish(&self, outgoing: &Outgoing) -> Publication {
        let message = &outgoing.half.message;
        let queues = self.route(&message.exchange, &message.routing_key);
        if queues.is_empty() {
            return Publication::Unroutable(format!(
                "no consumer in this process is bound to exchange `{}` with a pattern for `{}`",
                message.exchange, message.routing_key
            ));
        }
        let handled = join_all(queues.into_iter().map(|queue| deliver(queue, outgoing))).await;
        // As long as one queue may still take it, the message is not given up.
        handled.into_iter().fold(Publication::Acknowledged, |sum, handled| match (sum, handled) {
            (Publication::Failed(why), _) | (_, Handled::Failed(why)) => Publication::Failed(why),
            (Publication::Refused(why), _) | (_, Handled::Rejected(why)) => Publication::Refused(why),
            (sum, Handled::Done) => sum,
        })
    }
}

async fn deliver(queue: mpsc::Sender<Delivery>, outgoing: &Outgoing) -> Handled {
    let (settle, settled) = oneshot::channel();
    let delivery = Delivery { half: outgoing.half.clone(), attempt: outgoing.attempt, settle };
    if queue.send(delivery).await.is_err() {
        return Handled::Failed("the consumer has stopped".into());
    }
    settled
        .await
        .unwrap_or_else(|_| Handled::Failed("the consumer stopped while it handled the message".into()))
}
