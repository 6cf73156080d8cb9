//! The one task that publishes on its channel, and decides which message to blame when the channel fails.

use std::collections::HashMap;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::{self, ReturnStatus};
use super::blame::{Neighbours, What, refused_what};
use super::connection::{ConnectError, code, text};
use super::establish::{has_exchange, missing_exchange};
use super::properties::{AmqpMessage, Short};
use super::publish_queue::{BrokerStatus, PendingPublish, PublishQueue};
use crate::telemetry::labels::NotDelivered;
use crate::transport::PublishResult;

/// How long what was refused is not tried again.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// How long a queue refuses everything before publishing goes on on another channel. RabbitMQ 3.10 never takes a message from a
/// channel again on which the first one came while a quorum queue had no leader.
const STUCK: Duration = Duration::from_secs(5);
/// How long closing a channel may take.
const CLOSING: Duration = Duration::from_secs(1);
/// Exchanges remembered, and routing keys; more exchanges than an application has, unless it makes up their names.
const REMEMBERED: usize = 1000;

/// Publishes batches on a channel of its own.
pub(super) struct ChannelPublisher<'a> {
    queue: &'a PublishQueue,
    connection: &'a Connection,
    /// The connection is of no more use.
    lost: &'a CancellationToken,
    neighbours: &'a Neighbours,
    channel: Option<Channel>,
    /// What is known of exchanges: publishing to one that is missing ends the channel, with all that
    /// is unconfirmed there.
    exchanges: HashMap<Short, Result<(), Refused>>,
    /// Routing keys that this user may not publish with: topic permissions.
    keys: HashMap<(Short, Short), Refused>,
    /// Since when a queue has refused all that was sent there, by exchange and routing key.
    stuck: HashMap<(Short, Short), Instant>,
}

/// What takes no messages, at least until then.
struct Refused {
    reason: NotDelivered,
    why: String,
    until: Instant,
}

/// Why a batch failed as a whole.
struct Failure {
    trouble: ConnectError,
    code: Option<u16>,
    /// Nothing else will work on this connection.
    ends_the_connection: bool,
}

impl<'a> ChannelPublisher<'a> {
    pub(super) fn new(
        queue: &'a PublishQueue,
        connection: &'a Connection,
        lost: &'a CancellationToken,
        neighbours: &'a Neighbours,
    ) -> Self {
        let (exchanges, keys, stuck) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { queue, connection, lost, neighbours, channel: None, exchanges, keys, stuck }
    }

    /// Publishes until the connection is lost. Says why, if that was seen here.
    pub(super) async fn run(mut self) -> Option<ConnectError> {
        loop {
            let batch = tokio::select! {
                biased;
                () = self.lost.cancelled() => return None,
                batch = self.queue.next_batch() => batch,
            };
            if let Err(trouble) = self.deliver(batch).await {
                return Some(trouble);
            }
        }
    }

    /// Publishes a batch, and answers each of its messages, or makes suspects of them.
    async fn deliver(&mut self, batch: Vec<PendingPublish>) -> Result<(), ConnectError> {
        let batch = self.with_known_exchanges(Self::that_fit(self.connection, batch)).await?;
        let Some(first) = batch.first() else { return Ok(()) };
        let (alone, suspect) = (batch.len() == 1, first.suspect);
        let (exchange, key) = (first.message.exchange.clone(), first.message.routing_key.clone());
        let messages: Vec<_> = batch.iter().map(|pending| &pending.message).collect();
        let neighbours = self.neighbours;
        let _turn = neighbours.turn(suspect).await;
        if self.lost.is_cancelled() {
            self.queue.suspect(batch);
            return Ok(());
        }
        let failure = match self.publish(&messages).await {
            Ok(statuses) => {
                for (pending, status) in batch.into_iter().zip(statuses) {
                    self.note(&pending.message, &status);
                    let result = result(&pending.message, status);
                    pending.answer(result);
                }
                self.leave_if_stuck().await;
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.channel = None;
        let fails_first = neighbours.fails_first();
        let to_blame = if failure.ends_the_connection { suspect && fails_first } else { alone };
        if failure.code == Some(404) {
            // Deleted since it was seen; whose it was turns out when each is looked at again.
            self.exchanges.clear();
            self.queue.suspect(batch);
        } else if to_blame {
            let why = &failure.trouble.why;
            match refused_what(failure.code, why) {
                What::Exchange => self.refuse(exchange, NotDelivered::Refused, why),
                What::RoutingKey => self.refuse_key((exchange, key), why),
                What::Message => {}
            }
            let reason = if failure.code.is_some() { NotDelivered::Refused } else { NotDelivered::Timeout };
            for pending in batch {
                pending.answer(PublishResult::Failed(reason, why.clone()));
            }
        } else {
            self.queue.suspect(batch);
        }
        if failure.ends_the_connection { Err(failure.trouble) } else { Ok(()) }
    }

    /// Notes since when a queue takes nothing.
    fn note(&mut self, message: &AmqpMessage, status: &ReturnStatus) {
        let refused = matches!(status, ReturnStatus::Refused);
        if !refused && self.stuck.is_empty() {
            return;
        }
        let key = (message.exchange.clone(), message.routing_key.clone());
        if refused && self.stuck.len() < REMEMBERED {
            self.stuck.entry(key).or_insert_with(Instant::now);
        } else {
            self.stuck.remove(&key);
        }
    }

    /// Goes on with another channel where a queue has taken nothing for long: perhaps it would take it from that one.
    async fn leave_if_stuck(&mut self) {
        if self.stuck.values().all(|since| since.elapsed() < STUCK) {
            return;
        }
        self.stuck.clear();
        if let Some(channel) = self.channel.take() {
            tracing::info!(
                "RabbitMQ: a queue has refused everything for {STUCK:?}; publishing goes on on another channel"
            );
            let _ = timeout(CLOSING, channel.close(200, "a queue refuses everything".into())).await;
        }
    }

    async fn publish(&mut self, messages: &[&AmqpMessage]) -> Result<Vec<ReturnStatus>, Failure> {
        let channel = self.channel().await?;
        self.wait_for(batch::publish(&channel, messages)).await
    }

    async fn channel(&mut self) -> Result<Channel, Failure> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let opening = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = self.wait_for(opening).await?;
        Ok(self.channel.insert(channel).clone())
    }

    /// Waits for the broker, within the publisher's patience, and not past the end of the connection:
    /// lapin has been seen to leave a request without an answer then.
    async fn wait_for<T>(&self, answer: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, Failure> {
        let trouble = tokio::select! {
            biased;
            answer = answer => return answer.map_err(|error| self.failure(&error)),
            () = self.lost.cancelled() => ConnectError::passing("the connection to RabbitMQ was lost"),
            () = self.out_of_patience() => {
                ConnectError::passing(format!("RabbitMQ did not answer within {:?}", self.queue.patience))
            }
        };
        Err(Failure { trouble, code: None, ends_the_connection: true })
    }

    /// The time in which the broker takes no messages does not count.
    async fn out_of_patience(&self) {
        let mut status = self.queue.watch();
        loop {
            let blocked = matches!(&*status.borrow_and_update(), BrokerStatus::Blocked(_));
            tokio::select! {
                () = sleep(self.queue.patience), if !blocked => return,
                Ok(()) = status.changed() => {}
            }
        }
    }

    fn failure(&self, error: &lapin::Error) -> Failure {
        Failure {
            trouble: ConnectError::passing(text(error)),
            code: code(error),
            ends_the_connection: !self.connection.status().connected(),
        }
    }

    /// The messages that this connection can carry; the others would end it. Most were asked about before they were
    /// stored, when perhaps another size was agreed on.
    fn that_fit(connection: &Connection, batch: Vec<PendingPublish>) -> Vec<PendingPublish> {
        let frame_bytes = connection.configuration().frame_max();
        let mut fitting = Vec::with_capacity(batch.len());
        for pending in batch {
            match pending.message.does_not_fit(frame_bytes) {
                Some(why) => pending.answer(PublishResult::Refused(NotDelivered::TooLarge, why)),
                None => fitting.push(pending),
            }
        }
        fitting
    }

    /// The messages whose exchange is there, and takes them. The others are answered.
    async fn with_known_exchanges(
        &mut self,
        batch: Vec<PendingPublish>,
    ) -> Result<Vec<PendingPublish>, ConnectError> {
        let mut known = Vec::with_capacity(batch.len());
        let mut batch = batch.into_iter();
        while let Some(pending) = batch.next() {
            match self.exchange(&pending.message.exchange).await {
                Ok(Ok(())) => match self.refused_key(&pending.message) {
                    Some(why) => pending.answer(PublishResult::Failed(NotDelivered::Refused, why)),
                    None => known.push(pending),
                },
                Ok(Err((reason, why))) => pending.answer(PublishResult::Failed(reason, why)),
                Err(trouble) => {
                    for pending in known.into_iter().chain([pending]).chain(batch) {
                        pending.answer(PublishResult::NotNow(trouble.why.clone()));
                    }
                    return Err(trouble);
                }
            }
        }
        Ok(known)
    }

    /// Whether an exchange takes messages, from memory or from the broker.
    async fn exchange(&mut self, name: &Short) -> Result<Result<(), (NotDelivered, String)>, ConnectError> {
        match self.exchanges.get(name) {
            // The default exchange is always there.
            _ if name.as_str().is_empty() => return Ok(Ok(())),
            Some(Ok(())) => return Ok(Ok(())),
            Some(Err(refused)) if Instant::now() < refused.until => {
                return Ok(Err((refused.reason, refused.why.clone())));
            }
            _ => {}
        }
        // On a channel of its own, which ends if the exchange is missing.
        let looking = has_exchange(self.connection, name);
        let there = self.wait_for(looking).await.map_err(|failure| failure.trouble)?;
        if there {
            self.remember(name.clone(), Ok(()));
            Ok(Ok(()))
        } else {
            let why = missing_exchange(name.as_str());
            self.refuse(name.clone(), NotDelivered::NoExchange, &why);
            Ok(Err((NotDelivered::NoExchange, why)))
        }
    }

    fn refuse(&mut self, exchange: Short, reason: NotDelivered, why: &str) {
        self.remember(exchange, Err(Refused::now(reason, why)));
    }

    fn remember(&mut self, exchange: Short, known: Result<(), Refused>) {
        if self.exchanges.len() >= REMEMBERED {
            self.exchanges.clear();
        }
        self.exchanges.insert(exchange, known);
    }

    fn refuse_key(&mut self, key: (Short, Short), why: &str) {
        if self.keys.len() >= REMEMBERED {
            self.keys.clear();
        }
        self.keys.insert(key, Refused::now(NotDelivered::Refused, why));
    }

    fn refused_key(&self, message: &AmqpMessage) -> Option<String> {
        if self.keys.is_empty() {
            return None;
        }
        let refused = self.keys.get(&(message.exchange.clone(), message.routing_key.clone()))?;
        (Instant::now() < refused.until).then(|| refused.why.clone())
    }
}

impl Refused {
    fn now(reason: NotDelivered, why: &str) -> Self {
        Self { reason, why: why.to_owned(), until: Instant::now() + REFUSED_FOR }
    }
}

fn result(message: &AmqpMessage, status: ReturnStatus) -> PublishResult {
    match status {
        ReturnStatus::Delivered => PublishResult::Acknowledged,
        ReturnStatus::Returned(said) => PublishResult::Unroutable(format!(
            "no queue is bound to exchange `{}` for the routing key `{}` (the broker says: {said})",
            message.exchange, message.routing_key
        )),
        ReturnStatus::Refused => {
            let why = format!(
                "a queue refused the message (negative publisher confirm): one that is bound to exchange `{}` for \
                 the routing key `{}` is full, or has lost too many of its nodes",
                message.exchange, message.routing_key
            );
            PublishResult::Failed(NotDelivered::Nacked, why)
        }
    }
}
