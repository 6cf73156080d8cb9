//! What comes out of a consumer's queue, and how it goes on into another one. It may be anybody's:
//! nothing here panics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use super::properties::{
    ATTEMPT, AmqpMessage, Body, DUE, EXCHANGE, EXPIRES, PERSISTENT, REASON, REDRIVEN, ROUTING_KEY, Short,
    UNDECODABLE_SINCE, WAIT, table_bytes,
};
use crate::message::limits::{OURS, ROUTING, SHORT_STRING_BYTES};
use crate::message::schedule::{NotBefore, Schedule};
use crate::message::{Message, MessageId};
use crate::transport::{Foreign, Identify};

/// By how much clocks may differ at most, in milliseconds: a day. Nobody's word that a message falls due later is believed.
const CLOCKS_DIFFER: u64 = 24 * 60 * 60 * 1000;

/// A quorum queue's count of deliveries that ended without an answer.
pub(super) const DELIVERY_COUNT: &str = "x-delivery-count";

/// Where RabbitMQ notes which queues a message left for their dead letters, and why: the newest first. Waiting is such
/// a death, too, of the queue in which a message waited. Tools that move messages copy it.
const DEATHS: &str = "x-death";

/// What RabbitMQ adds on the message's way. Kept in a message that is published again, the records
/// of dead-lettering would make RabbitMQ believe in a cycle, and drop it.
const BROKERS: [&str; 4] = [DEATHS, "x-first-death-", "x-last-death-", "x-acquired-count"];

/// What came out of a queue, with everything that is needed to put it into another one.
#[derive(Debug)]
pub(super) struct Incoming {
    /// `Err`: not a message that the inbox could recognise.
    pub(super) id: Result<MessageId, String>,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    /// Which attempt this is, from 1. RabbitMQ's own count has no part in it: that says how often a message was in
    /// hand, and not that it is to blame for anything.
    pub(super) attempt: u32,
    /// Since when nobody could read it, in milliseconds of Unix time.
    pub(super) undecodable_since: Option<u64>,
    /// How much longer it waits for its next attempt.
    pub(super) wait: Option<Duration>,
    /// When it fell due, if it had a delay, in milliseconds of Unix time.
    pub(super) due: Option<u64>,
    /// When it expires, if it does, in milliseconds of Unix time.
    pub(super) expires: Option<u64>,
    /// Why RabbitMQ had put it to the dead letters itself, from where it was put back.
    pub(super) died_of: Option<String>,
    /// How often an operator has put it back from the dead letters.
    pub(super) redriven: Option<u64>,
    /// It was delivered before, and nobody answered.
    pub(super) redelivered: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Body,
}

impl Incoming {
    /// Takes a delivery from `queue` apart.
    pub(super) fn new(delivery: Delivery, queue: &Short) -> Self {
        Self::taken(delivery, queue, queue)
    }

    /// Takes a delivery apart that came out of one of the queues of the consumer of `queue`.
    pub(super) fn taken(delivery: Delivery, queue: &Short, from: &Short) -> Self {
        let Delivery { exchange, routing_key, redelivered, properties, data, .. } = delivery;
        let none = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&none);
        // Only what comes by the default exchange can be one of ours that waited. A dead one that a
        // person has put back begins anew, whoever put it to the dead letters.
        let waited = exchange.as_str().is_empty() && routing_key == *from;
        let death = headers.inner().get(DEATHS).filter(|_| waited).and_then(|deaths| death_in(deaths, queue));
        let noted = |name| headers.inner().get(name).filter(|_| waited);
        let count = |name| {
            let goes_on = death.is_none() && !headers.contains_key(REASON);
            noted(name).filter(|_| goes_on).and_then(integer)
        };
        let origin = |name, of_death: &str, seen: &Short| {
            let ours = noted(name).and_then(string);
            let noted = ours.or_else(|| first_text(death?.inner().get(of_death)?));
            // Longer, it is somebody else's, and might not fit into a frame beside what is noted next.
            noted.filter(|noted| noted.len() <= SHORT_STRING_BYTES).unwrap_or_else(|| seen.to_string())
        };
        Self {
            id: message_id(&properties),
            exchange: origin(EXCHANGE, "exchange", &exchange),
            routing_key: origin(ROUTING_KEY, "routing-keys", &routing_key),
            attempt: u32::try_from(count(ATTEMPT).unwrap_or(1).max(1)).unwrap_or(u32::MAX),
            undecodable_since: count(UNDECODABLE_SINCE),
            wait: count(WAIT).map(Duration::from_millis),
            due: headers.inner().get(DUE).and_then(integer).filter(|due| *due <= now() + CLOCKS_DIFFER),
            expires: headers.inner().get(EXPIRES).and_then(integer),
            died_of: death.and_then(|death| first_text(death.inner().get("reason")?)),
            redriven: noted(REDRIVEN).and_then(integer),
            redelivered,
            body: Body::Bytes(Arc::new(data)),
            properties,
        }
    }

    /// Whether it expired while it waited for another attempt; in a queue, RabbitMQ sees to that. A dead one that a person has
    /// put back is delivered, however late.
    pub(super) fn is_late(&self) -> bool {
        self.attempt > 1 && self.expires.is_some_and(|expires| expires <= now())
    }

    /// The text of one of this crate's headers.
    pub(super) fn note(&self, name: &str) -> Option<String> {
        self.header(name).and_then(string)
    }

    /// The number in one of this crate's headers.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.header(name).and_then(integer)
    }

    fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.properties.headers().as_ref()?.inner().get(name)
    }

    /// Gives it the id that its key stands for, if it has one.
    pub(super) fn identify(&mut self, identify: &Identify) {
        let text = |property: &Option<Short>| property.as_ref().map(ToString::to_string);
        let (message_id, message) = (text(self.properties.message_id()), self.message());
        let foreign = Foreign {
            message_id: message_id.as_deref(),
            correlation_id: message.business_key.as_deref(),
            message_type: message.message_type.as_deref(),
            exchange: &message.exchange,
            routing_key: &message.routing_key,
            headers: &message.headers,
            body: &message.payload,
        };
        match identify.id(&foreign) {
            Ok(Some(id)) => self.id = Ok(id),
            Ok(None) => {}
            Err(why) => self.id = Err(why),
        }
    }

    /// As the consumer's handler gets it.
    pub(super) fn message(&self) -> Message {
        let text = |property: &Option<Short>| property.as_ref().map(ToString::to_string);
        let properties = &self.properties;
        let headers = properties.headers().iter().flat_map(FieldTable::inner);
        Message {
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            message_type: text(properties.kind()),
            content_type: text(properties.content_type())
                .unwrap_or_else(|| "application/octet-stream".into()),
            business_key: text(properties.correlation_id()),
            headers: headers
                .filter(|(name, _)| !is_internal(name.as_str()))
                .filter_map(|(name, value)| Some((name.to_string(), string(value)?)))
                .collect(),
            priority: *properties.priority(),
            schedule: Schedule {
                not_before: self
                    .due
                    .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
                    .map(NotBefore::At),
                expires_in: None,
            },
            payload: self.body.bytes().to_vec(),
        }
    }

    /// The same message for its queue, as on its first attempt, after an operator has taken it from the dead letters.
    pub(super) fn redriven_to(&self, queue: &Short, room: usize) -> AmqpMessage {
        let times = i64::try_from(self.redriven.unwrap_or_default()).unwrap_or(i64::MAX - 1);
        // A person wants it handled, however late, and on each attempt.
        self.routed(queue, room, None, &[(REDRIVEN, AMQPValue::LongLongInt(times + 1))])
    }

    /// The same message for another queue, with these headers of ours. Its own are left out if they need more than
    /// this room.
    pub(super) fn rerouted(
        &self,
        queue: &Short,
        room: usize,
        notes: &[(&'static str, AMQPValue)],
    ) -> AmqpMessage {
        self.routed(queue, room, self.expires, notes)
    }

    fn routed(
        &self,
        queue: &Short,
        room: usize,
        expires: Option<u64>,
        notes: &[(&'static str, AMQPValue)],
    ) -> AmqpMessage {
        let theirs = self.properties.headers().iter().flat_map(FieldTable::inner);
        let mut headers = FieldTable::default();
        for (name, value) in theirs.filter(|(name, _)| !is_internal(name.as_str())) {
            headers.insert(name.clone(), value.clone());
        }
        if table_bytes(&headers) > room {
            headers = FieldTable::default();
        }
        for (name, number) in [(DUE, self.due), (EXPIRES, expires), (REDRIVEN, self.redriven)] {
            if let Some(number) = number {
                headers
                    .insert(name.into(), AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX)));
            }
        }
        for (name, value) in notes {
            headers.insert((*name).into(), value.clone());
        }
        let text = |text: &str| AMQPValue::LongString(text.into());
        headers.insert(EXCHANGE.into(), text(&self.exchange));
        headers.insert(ROUTING_KEY.into(), text(&self.routing_key));
        AmqpMessage {
            exchange: Short::default(),
            routing_key: queue.clone(),
            properties: keep(&self.properties).with_delivery_mode(PERSISTENT).with_headers(headers),
            body: self.body.clone(),
        }
    }
}

/// In milliseconds of Unix time.
fn now() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// All properties that may be said again: not the login of the first publisher, which must be the
/// connection's own, and not an expiration, which would cut a pause short.
fn keep(properties: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    macro_rules! keep {
        ($($get:ident $set:ident),*) => {
            $(if let Some(value) = properties.$get() { kept = kept.$set(value.clone()); })*
        };
    }
    keep!(
        content_type with_content_type, content_encoding with_content_encoding, priority with_priority,
        correlation_id with_correlation_id, reply_to with_reply_to, message_id with_message_id,
        timestamp with_timestamp, kind with_type, app_id with_app_id
    );
    kept
}

fn message_id(properties: &BasicProperties) -> Result<MessageId, String> {
    let Some(id) = properties.message_id() else {
        return Err("it has no `message_id`, by which a repeated delivery could be recognised".into());
    };
    id.as_str().parse().map_err(|_| "its `message_id` is not a UUID".into())
}

/// What is noted of the way from this queue to the dead letters.
fn death_in<'a>(deaths: &'a AMQPValue, queue: &Short) -> Option<&'a FieldTable> {
    let AMQPValue::FieldArray(deaths) = deaths else { return None };
    let tables = deaths.as_slice().iter().filter_map(|death| match death {
        AMQPValue::FieldTable(death) => Some(death),
        _ => None,
    });
    tables.into_iter().find(|death| {
        let of = death.inner().get("queue").and_then(string);
        of.as_deref() == Some(queue.as_str())
    })
}

/// A text, or the first of several.
fn first_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::FieldArray(values) => values.as_slice().first().and_then(string),
        value => string(value),
    }
}

fn is_internal(name: &str) -> bool {
    name.starts_with(OURS)
        || name == DELIVERY_COUNT
        || ROUTING.contains(&name)
        || BROKERS.iter().any(|prefix| name.starts_with(prefix))
}

/// A count, of whatever type a client or broker chose.
fn integer(value: &AMQPValue) -> Option<u64> {
    match *value {
        AMQPValue::ShortShortInt(n) => n.try_into().ok(),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => n.try_into().ok(),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => n.try_into().ok(),
        AMQPValue::LongUInt(n) => Some(n.into()),
        AMQPValue::LongLongInt(n) => n.try_into().ok(),
        _ => None,
    }
}

/// A header's value as text; none for what has no obvious one.
fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(flag) => Some(flag.to_string()),
        AMQPValue::Float(number) => Some(number.to_string()),
        AMQPValue::Double(number) => Some(number.to_string()),
        AMQPValue::Timestamp(seconds) => Some(seconds.to_string()),
        AMQPValue::LongLongInt(number) => Some(number.to_string()),
        AMQPValue::LongInt(number) => Some(number.to_string()),
        AMQPValue::ShortInt(number) => Some(number.to_string()),
        AMQPValue::ShortShortInt(number) => Some(number.to_string()),
        other => integer(other).map(|number| number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, LongString};

    use super::super::properties::tests::{message, outgoing};
    use super::super::properties::{Sender, amqp_message};
    use super::*;

    const ROOM: usize = 96 * 1024;

    fn short(text: &str) -> Short {
        Short::from(text)
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    /// As the broker delivers a message from the queue `books`.
    fn arrived(amqp_message: &AmqpMessage, count: Option<AMQPValue>) -> Incoming {
        let AmqpMessage { exchange, routing_key, properties, body } = amqp_message;
        let mut delivery =
            Delivery::mock(1, exchange.clone(), routing_key.clone(), false, body.bytes().to_vec());
        let mut headers = properties.headers().clone().unwrap_or_default();
        for (name, value) in [(DELIVERY_COUNT, count.clone()), ("x-death", count)] {
            if let Some(value) = value {
                headers.insert(name.into(), value);
            }
        }
        delivery.properties = properties.clone().with_headers(headers);
        Incoming::new(delivery, &short("books"))
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let outgoing = outgoing(message());
        let amqp_message =
            amqp_message(&outgoing, &Sender { app_id: Some(short("shop-service")), ..Sender::default() })
                .expect("fits");
        assert_eq!(amqp_message.properties.app_id().as_ref().map(Short::as_str), Some("shop-service"));
        assert_eq!(*amqp_message.properties.delivery_mode(), Some(PERSISTENT));
        let made = outgoing.half.id.as_uuid().get_timestamp().expect("a UUIDv7").to_unix().0;
        assert_eq!(*amqp_message.properties.timestamp(), Some(made));
        let incoming = arrived(&amqp_message, None);
        assert_eq!(incoming.id, Ok(outgoing.half.id));
        assert_eq!((incoming.attempt, incoming.message()), (1, message()));
    }

    #[test]
    fn a_message_that_waited_still_shows_where_it_was_sent() {
        let amqp_message = amqp_message(&outgoing(message()), &Sender::default()).expect("fits");
        let first = arrived(&amqp_message, Some(AMQPValue::LongLongInt(2)));
        assert_eq!(first.attempt, 1, "the broker's count is not believed");
        let waiting = first.rerouted(&short("books"), ROOM, &[(ATTEMPT, AMQPValue::LongLongInt(4))]);
        assert_eq!(
            waiting.properties.headers().as_ref().map(|table| table.contains_key("x-death")),
            Some(false)
        );
        let again = arrived(&waiting, Some(AMQPValue::LongLongInt(1)));
        assert_eq!((again.id.clone(), again.attempt, again.message()), (first.id, 4, message()));
        // A dead one that was put back begins anew.
        let dead = again.rerouted(
            &short("books"),
            ROOM,
            &[(ATTEMPT, AMQPValue::LongLongInt(5)), (REASON, AMQPValue::Void)],
        );
        assert_eq!((arrived(&dead, None).attempt, arrived(&dead, None).message()), (1, message()));
        // Headers of ours that a stranger sends are not believed.
        let forged = AmqpMessage { exchange: short("shop"), ..waiting };
        assert_eq!(
            (arrived(&forged, None).attempt, arrived(&forged, None).routing_key.as_str()),
            (1, "books")
        );
    }

    /// What a shovel moves back out of the dead letters, with the headers that it had there.
    #[test]
    fn what_rabbitmq_dead_lettered_itself_begins_anew_where_it_was_sent() {
        let death = |queue: &str, exchange: &str, key: &str| {
            let mut death = FieldTable::default();
            let keys = FieldArray::from(vec![long(key)]);
            death.insert("queue".into(), long(queue));
            death.insert("reason".into(), long("delivery_limit"));
            death.insert("exchange".into(), long(exchange));
            death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
            AMQPValue::FieldTable(death)
        };
        let moved = |deaths: Vec<AMQPValue>, ours: &[(&'static str, AMQPValue)]| {
            let mut headers = FieldTable::default();
            headers.insert(DEATHS.into(), AMQPValue::FieldArray(FieldArray::from(deaths)));
            headers.insert(DELIVERY_COUNT.into(), AMQPValue::LongLongInt(21));
            for (name, value) in ours {
                headers.insert((*name).into(), value.clone());
            }
            let mut delivery = Delivery::mock(1, short(""), short("books"), false, Vec::new());
            delivery.properties = BasicProperties::default().with_headers(headers);
            let Incoming { attempt, exchange, routing_key, died_of, undecodable_since, .. } =
                Incoming::new(delivery, &short("books"));
            (attempt, format!("{exchange}/{routing_key}"), died_of, undecodable_since)
        };
        let limit = Some("delivery_limit".to_owned());
        let three = (ATTEMPT, AMQPValue::LongLongInt(3));
        let since = (UNDECODABLE_SINCE, AMQPValue::LongLongInt(5));
        let from_shop = death("books", "shop", "order.paid");
        assert_eq!(moved(vec![from_shop.clone()], &[]), (1, "shop/order.paid".into(), limit.clone(), None));
        // One that had waited before: ours are kept by the broker, and the attempts were those of its first life.
        let ours =
            [three.clone(), since.clone(), (EXCHANGE, long("shop")), (ROUTING_KEY, long("order.paid"))];
        let waited = vec![death("books", "", "books"), death("books.retry.1s", "", "books.retry.1s")];
        assert_eq!(moved(waited, &ours), (1, "shop/order.paid".into(), limit, None));
        // One that only waited goes on.
        let waits = vec![death("books.retry.1s", "", "books.retry.1s")];
        assert_eq!(moved(waits, &ours), (3, "shop/order.paid".into(), None, Some(5)));
        assert_eq!(moved(vec![AMQPValue::Void], &[three]), (3, "/books".into(), None, None));
    }

    #[test]
    fn strange_properties_do_no_harm() {
        let array = || AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Void]));
        let mut headers = FieldTable::default();
        for (name, value) in [
            (ATTEMPT, AMQPValue::LongLongInt(-1)),
            (EXCHANGE, array()),
            (DELIVERY_COUNT, AMQPValue::LongString("many".into())),
            ("list", array()),
            ("bytes", AMQPValue::LongString(LongString::from(vec![0xff, 0]))),
            ("flag", AMQPValue::Boolean(true)),
            ("number", AMQPValue::ShortShortInt(-3)),
        ] {
            headers.insert(name.into(), value);
        }
        let properties = BasicProperties::default().with_message_id("7".into()).with_headers(headers);
        let body = Body::Bytes(Arc::default());
        let amqp_message = AmqpMessage { exchange: short(""), routing_key: short("books"), properties, body };
        let incoming = arrived(&amqp_message, None);
        assert!(incoming.id.as_ref().expect_err("no UUID").contains("not a UUID"));
        assert_eq!(incoming.attempt, 1);
        let headers = incoming.message().headers;
        let names: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(names, [("bytes", "\u{fffd}\0"), ("flag", "true"), ("number", "-3")]);
        let nameless = AmqpMessage { properties: BasicProperties::default(), ..amqp_message };
        assert!(arrived(&nameless, None).id.expect_err("no id").contains("no `message_id`"));
    }
}
