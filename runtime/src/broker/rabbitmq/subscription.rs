//! A subscription: the consumer's side. It keeps a connection, takes messages out of the queue,
//! hands them to the consumer's loop, and acknowledges what is done.
//!
//! No more messages are taken than are handled at once, so that what was in hand when a process died had really been
//! begun; but for a while after that number has changed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::Connection;
use lapin::message::Delivery as Taken;
use lapin::options::BasicAckOptions;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::connection::{ConnectError, Connected, Reconnect, close, code, connect, set_up, until_lost};
use super::dead_letters::DeadLetters;
use super::establish::look_for;
use super::incoming::Incoming;
use super::publisher::Publisher;
use super::remedy::quoted;
use super::reroute::{HOLD, Rerouter};
use super::taking::{Taking, Wanted};
use super::topology::{Binding, Queues, Topology};
use crate::Backoff;
use crate::error::Error;
use crate::message::MessageId;
use crate::telemetry::catalogue::{CONSUMER_DEAD, CONSUMER_RETRIES};
use crate::telemetry::labels::Buried;
use crate::transport::{Delivery, Disposition, Identify, Queue};

/// What may wait between a subscription and its loop: all that is taken, of which the prefetch is the bound.
const TAKEN: usize = u16::MAX as usize;
/// When a refused binding is tried again.
const BIND_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// How long RabbitMQ may take to say whether a queue is there.
const LOOK: Duration = Duration::from_secs(5);
/// Of how many kinds of messages the log says that no binding brings them.
const STRAYS: usize = 10;

/// A consumer's queue and the way to its loop.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    broker: Broker,
    topology: Topology,
    queues: Arc<Queues>,
    wanted: Wanted,
    /// How long a message waits that nobody can read.
    undecodable_after: Duration,
    identify: Option<Identify>,
    dead_letters: Arc<DeadLetters>,
    /// Exchanges and routing keys of messages that no binding brings.
    strays: Arc<Mutex<HashSet<(String, String)>>>,
    deliveries: mpsc::Sender<Delivery>,
}

/// What `begin` has made ready.
struct Begun {
    taking: Taking,
    /// Bindings to be tried again.
    refused: Vec<Binding>,
}

/// What a session goes on with.
struct Session<'a> {
    subscription: &'a Subscription,
    rerouter: Rerouter<'a>,
}

impl Subscription {
    pub(super) fn new(
        broker: Broker,
        topology: Topology,
        queue: &Queue,
    ) -> Result<(Self, mpsc::Receiver<Delivery>), Error> {
        let queues = Arc::new(Queues::new(queue)?);
        let (deliveries, receiver) = mpsc::channel(TAKEN);
        let subscription = Self {
            broker,
            topology,
            queues,
            wanted: Wanted {
                concurrency: queue.concurrency.clone(),
                batch: queue.batch,
                paused: queue.paused.clone(),
            },
            undecodable_after: queue.undecodable_after,
            identify: queue.identify.clone(),
            dead_letters: Arc::default(),
            strays: Arc::default(),
            deliveries,
        };
        Ok((subscription, receiver))
    }

    pub(super) fn queues(&self) -> Arc<Queues> {
        Arc::clone(&self.queues)
    }

    /// Consumes until `stop`, over however many connections; then lets what was taken be finished.
    pub(super) async fn run(&self, publisher: &Publisher, stop: &CancellationToken) {
        let purpose = format!("consuming {}", self.queues.main);
        let mut reconnect = Reconnect::default();
        // There from now on, at 0.
        CONSUMER_RETRIES.of(self.queues.main.as_str());
        CONSUMER_DEAD.of(self.queues.main.as_str());
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                opened = self.open(&purpose) => match opened {
                    Ok((mut connected, begun)) => {
                        reconnect.succeeded(&self.broker, &connected.node, &purpose);
                        let ended = self.consume(&mut connected, begun, publisher, stop).await;
                        close(connected.connection).await;
                        ended
                    }
                    Err(trouble) => Err(trouble),
                },
                () = stop.cancelled() => Ok(()),
            };
            let Err(trouble) = ended else { return };
            let pause = reconnect.failed(&self.broker, &purpose, &trouble);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn open(&self, purpose: &str) -> Result<(Connected, Begun), ConnectError> {
        let Connected { node, connection, mut events } = connect(&self.broker, purpose).await?;
        let begun = set_up(&connection, &mut events, self.begin(&connection)).await?;
        Ok((Connected { node, connection, events }, begun))
    }

    async fn begin(&self, connection: &Connection) -> Result<Begun, ConnectError> {
        let queues = &self.queues;
        // What is wrong with exchanges is the publisher's to tell; a binding to a missing one fails.
        self.topology.establish(connection).await?;
        self.topology.establish_queues(connection, queues).await?;
        let refused = self.topology.bind(connection, &queues.main, &queues.bindings).await?;
        let channel = connection.create_channel().await?;
        let taking = Taking::begin(channel, queues.main.clone(), self.wanted.clone()).await?;
        Ok(Begun { taking, refused })
    }

    /// Consumes on one connection. `Ok`: everything is finished, as `stop` asked for.
    async fn consume(
        &self,
        connected: &mut Connected,
        Begun { taking, refused }: Begun,
        publisher: &Publisher,
        stop: &CancellationToken,
    ) -> Result<(), ConnectError> {
        let rerouter = Rerouter { publisher, queues: &self.queues, dead_letters: &self.dead_letters, stop };
        let session = Session { subscription: self, rerouter };
        let Connected { connection, events, .. } = connected;
        // What is in hand is acknowledged on it, also when nothing more is taken.
        let _open = taking.channel.clone();
        let in_hand = watch::Sender::new(0);
        let taken = taking.until(stop, in_hand.subscribe());
        let lost = until_lost(connection, events, |_| {});
        let beside = async {
            tokio::join!(
                self.bind_later(connection, refused),
                self.dead_letters.watch(connection, &self.queues)
            );
        };
        tokio::pin!(taken, lost, beside);
        let mut is_beside = true;
        let mut under_way = FuturesUnordered::new();
        let mut no_more = false;
        while !no_more || !under_way.is_empty() {
            in_hand.send_replace(under_way.len());
            tokio::select! {
                taken = taken.next(), if !no_more => match taken {
                    Some(taken) => under_way.push(session.settle(taken?)),
                    None if stop.is_cancelled() => no_more = true,
                    None => return Err(self.why_cancelled(connection).await),
                },
                () = &mut beside, if is_beside => is_beside = false,
                Some(settled) = under_way.next() => settled?,
                trouble = &mut lost => return Err(trouble),
            }
        }
        Ok(())
    }

    /// Makes the bindings that were refused: what they need may come later.
    async fn bind_later(&self, connection: &Connection, mut refused: Vec<Binding>) {
        let mut tries = 0;
        while !refused.is_empty() {
            tokio::time::sleep(BIND_AGAIN.delay(tries)).await;
            tries += 1;
            // Trouble with the connection ends the session by itself.
            let Ok(still) = self.topology.bind(connection, &self.queues.main, &refused).await else { return };
            refused = still;
        }
    }

    /// RabbitMQ has ended the consumer, and does not say why.
    async fn why_cancelled(&self, connection: &Connection) -> ConnectError {
        let queue = &self.queues.main;
        let looked = tokio::time::timeout(LOOK, look_for(connection, queue)).await;
        ConnectError::passing(match looked {
            Ok(Err(error)) if code(&error) == Some(404) => format!("the queue `{queue}` was deleted"),
            Ok(Ok(_)) => format!(
                "RabbitMQ ended the consumer of `{queue}`, which is still there: a message was not acknowledged within \
                 RabbitMQ's `consumer_timeout` (a handler that never ends; see `Consumer::handler_timeout`), or a node \
                 went away"
            ),
            _ => format!("RabbitMQ ended the consumer of `{queue}`"),
        })
    }

    /// Says once for each kind of message that the program has no binding that would bring it.
    fn notice_stray(&self, incoming: &Incoming) {
        let Incoming { exchange, routing_key, .. } = incoming;
        let queue = &self.queues.main;
        if self.topology.is_bound(&self.queues, exchange, routing_key) {
            return;
        }
        let mut strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        if strays.len() >= STRAYS || !strays.insert((exchange.clone(), routing_key.clone())) {
            return;
        }
        let [vhost, from, to] = [&self.topology.vhost, exchange, queue.as_str()].map(quoted);
        let remedy = format!(
            "rabbitmqctl list_bindings -p {vhost} source_name routing_key destination_name, then \
             rabbitmqadmin --vhost {vhost} delete binding source={from} destination_type=queue \
             destination={to} properties_key=ROUTING_KEY"
        );
        tracing::warn!(%queue, exchange, routing_key, remedy,
            "a message came that no binding of this program brings: probably a binding of an earlier version is still \
             there. RabbitMQ keeps bindings until somebody deletes them");
    }
}

impl Session<'_> {
    /// Sees one message through. `Err` ends the session; the message stays in the queue.
    async fn settle(&self, taken: Taken) -> Result<(), ConnectError> {
        let acker = taken.acker.clone();
        let mut incoming = Incoming::new(taken, &self.subscription.queues.main);
        if let Some(identify) = &self.subscription.identify {
            incoming.identify(identify);
        }
        self.subscription.notice_stray(&incoming);
        if let Some(reason) = &incoming.died_of {
            tracing::info!(queue = %self.subscription.queues.main, id = ?incoming.id, reason,
                "a message that RabbitMQ itself had put to the dead letters is back, and begins anew");
        }
        let settled = match &incoming.id {
            Err(why) => self.rerouter.bury(&incoming, Buried::Undecodable, why).await?,
            Ok(_) if incoming.is_late() => {
                self.rerouter.bury(&incoming, Buried::Expired, "it expired while it was tried again").await?
            }
            Ok(id) => self.handle(*id, &incoming).await?,
        };
        if settled {
            acker.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }

    /// Has the consumer handle a message, again and again while it can't even be tried. Says whether
    /// the message is done with here.
    async fn handle(&self, id: MessageId, incoming: &Incoming) -> Result<bool, ConnectError> {
        if let Some(settled) = self.rerouter.wait_on(incoming).await? {
            return Ok(settled);
        }
        let held_since = Instant::now();
        let mut tries = 0;
        loop {
            match self.hand_over(id, incoming).await {
                Disposition::Done => return Ok(true),
                Disposition::Failed(why) => return self.rerouter.retry(incoming, &why).await,
                Disposition::FailedFor(pause, why) => {
                    return self.rerouter.retry_after(incoming, &why, pause).await;
                }
                Disposition::Rejected(reason, why) => {
                    return self.rerouter.bury(incoming, reason, &why).await;
                }
                Disposition::Undecodable(why) => {
                    let patience = self.subscription.undecodable_after;
                    return self.rerouter.wait_for_a_reader(incoming, &why, patience).await;
                }
                // The broker does not let a message be held forever.
                Disposition::NotNow(why) if held_since.elapsed() > HOLD => {
                    return self.rerouter.put_off(incoming, &why).await;
                }
                Disposition::NotNow(why) => {
                    tracing::debug!(%id, why, "a message could not be tried, and waits");
                    if !self.rerouter.pause(tries).await {
                        return Ok(false);
                    }
                    tries += 1;
                }
            }
        }
    }

    async fn hand_over(&self, id: MessageId, incoming: &Incoming) -> Disposition {
        let (settle, settled) = oneshot::channel();
        let Incoming { attempt, redelivered: suspect, .. } = *incoming;
        let delivery = Delivery { id, message: incoming.message(), attempt, suspect, settle };
        if self.subscription.deliveries.send(delivery).await.is_err() {
            return Disposition::NotNow("the consumer has stopped".into());
        }
        settled.await.unwrap_or_else(|_| Disposition::NotNow("the consumer was interrupted".into()))
    }
}
