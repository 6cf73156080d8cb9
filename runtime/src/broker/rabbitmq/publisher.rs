//! The publisher: keeps a connection to the broker, and lets channels publish what is in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::Connection;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::channel_publisher::ChannelPublisher;
use super::connection::{ConnectError, Connected, Reconnect, close, connect, set_up, until_lost};
use super::properties::{AmqpMessage, FRAME_BYTES};
use super::publish_connection::PublishConnection;
use super::publish_queue::{BATCH, BrokerStatus, PublishQueue};
use super::topology::{Queues, Topology};
use crate::transport::PublishResult;

const PURPOSE: &str = "publishing";
/// Channels of the connection; each has one publisher. Two, so that one batch is on its way while the
/// other is being confirmed.
const CHANNELS: usize = 2;

/// Keeps one connection for publishing, and its channels.
#[derive(Debug)]
pub(super) struct Publisher {
    broker: Broker,
    topology: Topology,
    queue: PublishQueue,
    /// The size of frames that the last connection agreed on with the broker.
    frame_bytes: AtomicU32,
}

impl Publisher {
    pub(super) fn new(broker: Broker, topology: Topology, patience: Duration) -> Self {
        let queue = PublishQueue::new(broker.clone(), patience, CHANNELS * BATCH);
        Self { broker, topology, queue, frame_bytes: AtomicU32::new(FRAME_BYTES) }
    }

    /// Publishes a message, and waits until its fate is known.
    pub(super) async fn publish(&self, message: AmqpMessage) -> PublishResult {
        self.queue.publish(message).await
    }

    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// How large the frames of a connection are.
    pub(super) fn frame_bytes(&self) -> u32 {
        self.frame_bytes.load(Ordering::Relaxed)
    }

    /// Keeps a connection until `stop`. Nothing is published before there are the queues of this process's own
    /// consumers, except those that an operator has to see to: what the broker gives to others alone would never
    /// come here.
    pub(super) async fn run(&self, own: impl Fn() -> Vec<Arc<Queues>>, stop: &CancellationToken) {
        let mut reconnect = Reconnect::default();
        // After a panic it would still say otherwise.
        self.queue.is(BrokerStatus::Connecting);
        while !stop.is_cancelled() {
            let trouble = tokio::select! {
                connected = self.connect(own()) => match connected {
                    Ok(connected) => {
                        reconnect.succeeded(&self.broker, &connected.node, PURPOSE);
                        self.serve(connected, stop).await
                    }
                    Err(trouble) => {
                        // They were worth the wait for one more connection, not for an outage.
                        self.queue.put_off_suspects(&trouble.why);
                        trouble
                    }
                },
                () = self.queue.put_off() => continue,
                () = stop.cancelled() => break,
            };
            if stop.is_cancelled() {
                break;
            }
            self.queue.is(BrokerStatus::Away(trouble.why.clone()));
            let pause = reconnect.failed(&self.broker, PURPOSE, &trouble);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.queue.put_off() => {}
                () = stop.cancelled() => {}
            }
        }
        self.queue.is(BrokerStatus::Away("the messenger is stopping".into()));
        self.queue.put_off_suspects("the messenger is stopping");
    }

    async fn connect(&self, own: Vec<Arc<Queues>>) -> Result<Connected, ConnectError> {
        let Connected { node, connection, mut events } = connect(&self.broker, PURPOSE).await?;
        self.frame_bytes.store(connection.configuration().frame_max(), Ordering::Relaxed);
        for wrong in set_up(&connection, &mut events, self.establish(&connection, &own)).await? {
            tracing::error!(broker = %self.broker, why = wrong.why, "RabbitMQ: an exchange is not as it should be");
        }
        Ok(Connected { node, connection, events })
    }

    /// Sees to exchanges and queues. Says which exchanges are not as they should be.
    async fn establish(
        &self,
        connection: &Connection,
        own: &[Arc<Queues>],
    ) -> Result<Vec<ConnectError>, ConnectError> {
        let wrong = self.topology.establish(connection).await?;
        for queues in own {
            match self.topology.establish_queues(connection, queues).await {
                // The consumer's to tell; until somebody sees to it, it keeps no other message back.
                Err(trouble) if trouble.permanent => {
                    tracing::debug!(broker = %self.broker, why = trouble.why, "RabbitMQ: a queue could not be set up");
                    continue;
                }
                done => done?,
            }
            self.topology.bind(connection, &queues.main, &queues.bindings).await?;
        }
        Ok(wrong)
    }

    /// Lets the channels publish until the connection is lost, or `stop`.
    async fn serve(&self, connected: Connected, stop: &CancellationToken) -> ConnectError {
        let Connected { connection, mut events, .. } = connected;
        let shared = PublishConnection::new(&self.queue, &connection);
        self.queue.is(BrokerStatus::Up);
        let blocked = |why: Option<String>| {
            let broker = &self.broker;
            if let Some(why) = &why {
                tracing::warn!(%broker, why, "RabbitMQ: takes no messages now");
            } else {
                tracing::info!(%broker, "RabbitMQ: takes messages again");
            }
            self.queue.is(why.map_or(BrokerStatus::Up, BrokerStatus::Blocked));
        };
        let watching = async {
            let trouble = tokio::select! {
                trouble = until_lost(&connection, &mut events, blocked) => Some(trouble),
                () = stop.cancelled() => {
                    shared.give_up();
                    None
                }
                () = shared.lost.cancelled() => None,
            };
            shared.lost.cancel();
            trouble
        };
        let publishers = join_all((0..CHANNELS).map(|_| async {
            // If the connection fails for one of them, it has failed for all.
            ChannelPublisher::new(&shared).run().await
        }));
        let (seen, met) = tokio::join!(watching, publishers);
        close(connection).await;
        let met = met.into_iter().flatten().next();
        met.or(seen).unwrap_or_else(|| ConnectError::passing("the connection was closed"))
    }
}
