//! The one task that publishes on its channel, and decides which message to blame when the channel fails.

use std::collections::HashMap;
use std::time::Duration;

use lapin::{Channel, Connection};
use tokio::time::{Instant, timeout};

use super::batch::{Batch, ReturnStatus};
use super::connection::ConnectError;
use super::establish::{has_exchange, missing_exchange};
use super::properties::{AmqpMessage, Short};
use super::publish_connection::{Failure, PublishConnection};
use super::publish_queue::PendingPublish;
use super::refusal::{What, refused_what};
use super::stragglers::{CLOSING, Flight, Outcome, Place, Stragglers, place};
use crate::telemetry::labels::NotDelivered;
use crate::transport::PublishResult;

/// How long what was refused is not tried again.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// How long a queue refuses everything before publishing goes on on another channel. RabbitMQ 3.10 never takes a message from a
/// channel again on which the first one came while a quorum queue had no leader.
const STUCK: Duration = Duration::from_secs(5);
/// A message is to blame when so many connections have ended while it was published by itself, whatever else happened there.
const ENDED: u32 = 3;
/// Exchanges remembered, and routing keys; more exchanges than an application has, unless it makes up their names.
const REMEMBERED: usize = 1000;

/// Publishes batches on a channel of its own.
pub(super) struct ChannelPublisher<'a> {
    connection: &'a PublishConnection<'a>,
    channel: Option<Channel>,
    stragglers: Stragglers<'a>,
    /// What is known of exchanges: publishing to one that is missing ends the channel, with all that
    /// is unconfirmed there.
    exchanges: HashMap<Short, Result<(), Refused>>,
    /// Routing keys that this user may not publish with: topic permissions.
    keys: HashMap<Place, Refused>,
    /// Since when a queue has refused all that was sent there, by exchange and routing key.
    stuck: HashMap<Place, Instant>,
}

/// What takes no messages, at least until then.
struct Refused {
    reason: NotDelivered,
    why: String,
    until: Instant,
}

impl<'a> ChannelPublisher<'a> {
    pub(super) fn new(connection: &'a PublishConnection<'a>) -> Self {
        let (exchanges, keys, stuck) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { connection, channel: None, stragglers: Stragglers::default(), exchanges, keys, stuck }
    }

    /// Publishes until the connection is lost. Says why, if that was seen here.
    pub(super) async fn run(mut self) -> Option<ConnectError> {
        let connection = self.connection;
        let trouble = loop {
            let done = tokio::select! {
                biased;
                () = connection.lost.cancelled() => break None,
                Some(outcome) = self.stragglers.next() => self.part_with(outcome),
                batch = connection.queue.next_batch(), if !self.stragglers.are_many() => self.deliver(batch).await,
            };
            if let Err(trouble) = done {
                break Some(trouble);
            }
        };
        connection.give_up();
        while let Some(outcome) = self.stragglers.next().await {
            // One connection is lost once.
            let _ = self.part_with(outcome);
        }
        trouble
    }

    /// Publishes a batch, and answers each of its messages, or makes suspects or stragglers of them.
    async fn deliver(&mut self, batch: Vec<PendingPublish>) -> Result<(), ConnectError> {
        let connection = self.connection;
        let messages = self.admitted(Self::that_fit(connection.connection, batch)).await?;
        let Some(first) = messages.first() else { return Ok(()) };
        let suspect = first.suspect;
        let _turn = self.stragglers.beside(connection.turn(suspect)).await;
        if connection.lost.is_cancelled() {
            connection.queue.suspect(messages);
            return Ok(());
        }
        let batch = match self.publish(&messages).await {
            Ok(batch) => batch,
            Err(failure) => {
                self.channel = None;
                return self.failed(messages, suspect, failure);
            }
        };
        let mut flight = Flight::new(batch, messages);
        match self.stragglers.beside(flight.answers(connection)).await {
            Ok(judged) => {
                for (pending, status) in flight.answered(judged) {
                    self.note(&pending.message, &status);
                    answer(pending, status);
                }
            }
            Err(failure) => {
                self.channel = None;
                return self.failed(flight.left(), suspect, failure);
            }
        }
        if flight.is_empty() {
            self.leave_if_stuck().await;
        } else {
            self.channel = None;
            self.stragglers.add(flight, connection);
        }
        Ok(())
    }

    async fn publish(&mut self, messages: &[PendingPublish]) -> Result<Batch, Failure> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channel.insert(self.connection.channel().await?).clone(),
        };
        let messages: Vec<_> = messages.iter().map(|pending| &pending.message).collect();
        self.connection.wait_for(Batch::publish(&channel, &messages)).await
    }

    /// Publishes a message where nothing else is: it would wait, too.
    async fn probe(&mut self, pending: PendingPublish) -> Result<(), ConnectError> {
        let _turn = self.connection.turn(false).await;
        let publishing = async {
            let channel = self.connection.channel().await?;
            self.connection.wait_for(Batch::publish(&channel, &[&pending.message])).await
        };
        match publishing.await {
            Ok(batch) => self.stragglers.add(Flight::new(batch, vec![pending]), self.connection),
            Err(failure) => return self.failed(vec![pending], false, failure),
        }
        Ok(())
    }

    /// Answers stragglers: those that the broker has answered at last, and one that it has not. If there were several, each
    /// is tried again, by itself: the others may have waited for one of them.
    fn part_with(&mut self, Outcome { mut flight, judged, .. }: Outcome) -> Result<(), ConnectError> {
        let queue = self.connection.queue;
        let judged = match judged {
            Ok(judged) => judged,
            Err(failure) => {
                self.connection.fails_first();
                queue.suspect(flight.left());
                return failure.result();
            }
        };
        let alone = judged.len() == 1;
        flight.answered(judged).for_each(|(pending, status)| answer(pending, status));
        for pending in flight.left() {
            if alone {
                let ailing = ailing(&pending.message);
                let why =
                    format!("RabbitMQ has not confirmed the message within {:?}: {ailing}", queue.patience);
                pending.answer(PublishResult::Failed(NotDelivered::Timeout, why));
            } else {
                queue.suspect(vec![pending]);
            }
        }
        if self.stragglers.use_up_channels(self.connection) {
            let why = "many channels on which messages were not confirmed were not closed in time: it goes on with a new connection";
            return Err(ConnectError::passing(why));
        }
        Ok(())
    }

    /// Answers a message that is to blame for the end of a channel, or of the connection: it was published `by_itself`. All
    /// others are suspects.
    fn failed(
        &mut self,
        messages: Vec<PendingPublish>,
        by_itself: bool,
        failure: Failure,
    ) -> Result<(), ConnectError> {
        let fails_first = self.connection.fails_first();
        if failure.code == Some(404) {
            // Deleted since it was seen; whose it was turns out when each is looked at again.
            self.exchanges.clear();
        }
        match <[_; 1]>::try_from(messages) {
            Ok([mut pending]) if failure.code != Some(404) => {
                pending.ended += u32::from(failure.ends_the_connection && by_itself);
                let is_sure = fails_first && by_itself || pending.ended >= ENDED;
                if is_sure || !failure.ends_the_connection {
                    self.blame(pending, &failure);
                } else {
                    self.connection.queue.suspect(vec![pending]);
                }
            }
            Ok(alone) => self.connection.queue.suspect(alone.into()),
            Err(messages) => self.connection.queue.suspect(messages),
        }
        failure.result()
    }

    fn blame(&mut self, pending: PendingPublish, failure: &Failure) {
        let (message, why) = (&pending.message, &failure.trouble.why);
        match refused_what(failure.code, why) {
            What::Exchange => self.refuse(message.exchange.clone(), NotDelivered::Refused, why),
            What::RoutingKey => self.refuse_key(place(message), why),
            What::Message => {}
        }
        let reason = if failure.code.is_some() { NotDelivered::Refused } else { NotDelivered::Timeout };
        pending.answer(PublishResult::Failed(reason, why.clone()));
    }

    /// Notes since when a queue takes nothing.
    fn note(&mut self, message: &AmqpMessage, status: &ReturnStatus) {
        let refused = matches!(status, ReturnStatus::Refused);
        if !refused && self.stuck.is_empty() {
            return;
        }
        let key = place(message);
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

    /// The messages that can be published together now. The others are answered, or published by themselves.
    async fn admitted(&mut self, batch: Vec<PendingPublish>) -> Result<Vec<PendingPublish>, ConnectError> {
        let mut admitted = Vec::with_capacity(batch.len());
        let mut batch = batch.into_iter();
        while let Some(pending) = batch.next() {
            match self.admit(pending).await {
                Ok(pending) => admitted.extend(pending),
                Err(trouble) => {
                    for pending in admitted.into_iter().chain(batch) {
                        pending.answer(PublishResult::NotNow(trouble.why.clone()));
                    }
                    return Err(trouble);
                }
            }
        }
        Ok(admitted)
    }

    async fn admit(&mut self, pending: PendingPublish) -> Result<Option<PendingPublish>, ConnectError> {
        let message = &pending.message;
        let result = match self.exchange(&message.exchange).await {
            Ok(Ok(())) => match self.put_off(message) {
                Some(result) => result,
                None if self.stragglers.in_doubt(message) => return self.probe(pending).await.map(|()| None),
                None => return Ok(Some(pending)),
            },
            Ok(Err((reason, why))) => PublishResult::Failed(reason, why),
            Err(trouble) => {
                pending.answer(PublishResult::NotNow(trouble.why.clone()));
                return Err(trouble);
            }
        };
        pending.answer(result);
        Ok(None)
    }

    /// What becomes of a message that is not published now, though there is its exchange.
    fn put_off(&self, message: &AmqpMessage) -> Option<PublishResult> {
        if let Some(why) = self.refused_key(message) {
            return Some(PublishResult::Failed(NotDelivered::Refused, why));
        }
        let pause = self.stragglers.pause(message, self.connection)?;
        let why = format!("RabbitMQ does not confirm the messages before it: {}", ailing(message));
        Some(PublishResult::Paused(pause, why))
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
        let looking = has_exchange(self.connection.connection, name);
        let there = self.connection.wait_for(looking).await.map_err(|failure| failure.trouble)?;
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

    fn refuse_key(&mut self, key: Place, why: &str) {
        if self.keys.len() >= REMEMBERED {
            self.keys.clear();
        }
        self.keys.insert(key, Refused::now(NotDelivered::Refused, why));
    }

    fn refused_key(&self, message: &AmqpMessage) -> Option<String> {
        if self.keys.is_empty() {
            return None;
        }
        let refused = self.keys.get(&place(message))?;
        (Instant::now() < refused.until).then(|| refused.why.clone())
    }
}

/// What may be wrong where no confirm comes from.
fn ailing(message: &AmqpMessage) -> String {
    format!(
        "a queue that is bound to exchange `{}` for the routing key `{}` may have lost most of its nodes",
        message.exchange, message.routing_key
    )
}

impl Refused {
    fn now(reason: NotDelivered, why: &str) -> Self {
        Self { reason, why: why.to_owned(), until: Instant::now() + REFUSED_FOR }
    }
}

fn answer(pending: PendingPublish, status: ReturnStatus) {
    let message = &pending.message;
    let result = match status {
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
    };
    pending.answer(result);
}
