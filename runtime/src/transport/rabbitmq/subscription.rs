//! A subscription: the consumer's side. It keeps a connection, takes messages out of the queue,
//! hands them to the consumer's loop, and acknowledges what is done.
//!
//! No more messages are taken than are handled at once, so that what the broker counts as delivered
//! when a process dies is what had really been begun.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery as Taken;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::connection::{Connected, Tries, Trouble, close, connect, set_up, until_lost};
use super::incoming::Incoming;
use super::onward::{HOLD, Onward};
use super::publisher::Publisher;
use super::topology::{Queues, Topology};
use crate::error::Error;
use crate::message::MessageId;
use crate::transport::{Delivery, Handled, Queue};

/// A consumer's queue and the way to its loop.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    broker: Broker,
    topology: Topology,
    queues: Arc<Queues>,
    /// Also the number of messages that are taken at once.
    concurrency: u16,
    deliveries: mpsc::Sender<Delivery>,
}

/// What a session goes on with.
struct Session<'a> {
    subscription: &'a Subscription,
    onward: Onward<'a>,
}

impl Subscription {
    pub(super) fn new(
        broker: Broker,
        topology: Topology,
        queue: &Queue,
    ) -> Result<(Self, mpsc::Receiver<Delivery>), Error> {
        let queues = Arc::new(Queues::new(queue)?);
        let (deliveries, receiver) = mpsc::channel(queue.concurrency.clamp(1, u16::MAX.into()));
        let concurrency = u16::try_from(queue.concurrency).unwrap_or(u16::MAX);
        Ok((Self { broker, topology, queues, concurrency, deliveries }, receiver))
    }

    pub(super) fn queues(&self) -> Arc<Queues> {
        Arc::clone(&self.queues)
    }

    /// Consumes until `stop`, over however many connections; then lets what was taken be finished.
    pub(super) async fn run(&self, publisher: &Publisher, stop: &CancellationToken) {
        let purpose = format!("consuming {}", self.queues.main);
        let mut tries = Tries::default();
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                opened = self.open(&purpose) => match opened {
                    Ok((mut connected, channel, consumer)) => {
                        tries.succeeded(&self.broker, &purpose);
                        let ended = self.consume(&mut connected, &channel, consumer, publisher, stop).await;
                        close(connected.connection).await;
                        ended
                    }
                    Err(trouble) => Err(trouble),
                },
                () = stop.cancelled() => Ok(()),
            };
            let Err(trouble) = ended else { return };
            let pause = tries.failed(&self.broker, &purpose, &trouble);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn open(&self, purpose: &str) -> Result<(Connected, Channel, lapin::Consumer), Trouble> {
        let Connected { connection, mut events } = connect(&self.broker, purpose).await?;
        let (channel, consumer) = set_up(&connection, &mut events, self.begin(&connection)).await?;
        Ok((Connected { connection, events }, channel, consumer))
    }

    async fn begin(&self, connection: &Connection) -> Result<(Channel, lapin::Consumer), Trouble> {
        // What is wrong with exchanges is the publisher's to tell; a binding to a missing one fails.
        self.topology.establish(connection).await?;
        let channel = connection.create_channel().await?;
        self.topology.establish_queues(&channel, &self.queues).await?;
        // Before the first message is on its way.
        channel.basic_qos(self.concurrency, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(self.queues.main.clone(), "".into(), options, arguments).await?;
        Ok((channel, consumer))
    }

    /// Consumes on one connection. `Ok`: everything is finished, as `stop` asked for.
    async fn consume(
        &self,
        connected: &mut Connected,
        channel: &Channel,
        mut consumer: lapin::Consumer,
        publisher: &Publisher,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let onward = Onward { publisher, queues: &self.queues, stop };
        let session = Session { subscription: self, onward };
        let Connected { connection, events } = connected;
        let tag = consumer.tag();
        let cancelling = async {
            stop.cancelled().await;
            channel.basic_cancel(tag, BasicCancelOptions::default()).await
        };
        tokio::pin!(cancelling);
        let lost = until_lost(connection, events, |_| {});
        tokio::pin!(lost);
        let mut under_way = FuturesUnordered::new();
        let (mut cancelled, mut no_more) = (false, false);
        while !no_more || !under_way.is_empty() {
            tokio::select! {
                taken = consumer.next(), if !no_more => match taken {
                    Some(taken) => under_way.push(session.settle(taken?)),
                    None if stop.is_cancelled() => no_more = true,
                    None => {
                        return Err(Trouble::passing(format!("the queue `{}` was deleted", self.queues.main)));
                    }
                },
                Some(settled) = under_way.next() => settled?,
                trouble = &mut lost => return Err(trouble),
                done = &mut cancelling, if !cancelled => {
                    done?;
                    cancelled = true;
                }
            }
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Sees one message through. `Err` ends the session; the message stays in the queue.
    async fn settle(&self, taken: Taken) -> Result<(), Trouble> {
        let acker = taken.acker.clone();
        let incoming = Incoming::new(taken, &self.subscription.queues.main);
        let settled = match &incoming.id {
            Err(why) => self.onward.bury(&incoming, why).await?,
            Ok(id) => self.handle(*id, &incoming).await?,
        };
        if settled {
            acker.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }

    /// Has the consumer handle a message, again and again while it can't even be tried. Says whether
    /// the message is done with here.
    async fn handle(&self, id: MessageId, incoming: &Incoming) -> Result<bool, Trouble> {
        let held_since = Instant::now();
        let mut tries = 0;
        loop {
            match self.hand_over(id, incoming).await {
                Handled::Done => {
                    metrics::counter!("transactional_message_consumed_total").increment(1);
                    return Ok(true);
                }
                Handled::Failed(why) => return self.onward.retry(incoming, &why).await,
                Handled::Rejected(why) | Handled::Undecodable(why) => {
                    return self.onward.bury(incoming, &why).await;
                }
                // The broker does not let a message be held for ever.
                Handled::NotNow(why) if held_since.elapsed() > HOLD => {
                    return self.onward.put_off(incoming, &why).await;
                }
                Handled::NotNow(why) => {
                    tracing::debug!(%id, why, "a message could not be tried, and waits");
                    if !self.onward.pause(tries).await {
                        return Ok(false);
                    }
                    tries += 1;
                }
            }
        }
    }

    async fn hand_over(&self, id: MessageId, incoming: &Incoming) -> Handled {
        let (settle, settled) = oneshot::channel();
        let Incoming { attempt, redelivered: suspect, .. } = *incoming;
        let delivery = Delivery { id, message: incoming.message(), attempt, suspect, settle };
        if self.subscription.deliveries.send(delivery).await.is_err() {
            return Handled::NotNow("the consumer has stopped".into());
        }
        settled.await.unwrap_or_else(|_| Handled::NotNow("the consumer was interrupted".into()))
    }
}
