//! A message as AMQP carries it, and the names of this crate's headers.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::cloud_events;
use crate::message::limits::{HEADERS_BYTES, OURS, amqp, headers_bytes};
use crate::message::{Half, Message};
use crate::transport::Outgoing;

pub(super) type Short = ShortString;

/// Which attempt of the relay's to publish it this was.
const PUBLISH_ATTEMPT: &str = "x-tm-publish-attempt";
/// Which attempt of the consumer's is next, or, on a dead message, was the last.
pub(super) const ATTEMPT: &str = "x-tm-attempt";
/// Where the message was sent.
pub(super) const EXCHANGE: &str = "x-tm-exchange";
pub(super) const ROUTING_KEY: &str = "x-tm-routing-key";
/// Why the message is dead, and at which queue it died.
pub(super) const REASON: &str = "x-tm-reason";
pub(super) const QUEUE: &str = "x-tm-queue";
/// How often an operator has put the message back from the dead letters.
pub(super) const REDRIVEN: &str = "x-tm-redriven";
/// Since when nobody could read the message, in milliseconds of Unix time.
pub(super) const UNDECODABLE_SINCE: &str = "x-tm-undecodable-since";
/// How much longer the message waits for its next attempt, in milliseconds, once it is back from the queue in which it waits
/// now. No time of day, about which clocks differ.
pub(super) const WAIT: &str = "x-tm-wait";
/// When a message with a delay fell due, by the store's clock, in milliseconds of Unix time.
pub(super) const DUE: &str = "x-tm-due";
/// When a message expires, by the clock of the process that published it, in milliseconds of Unix time.
pub(super) const EXPIRES: &str = "x-tm-expires";
/// The size of frames, in bytes, before a broker has said otherwise.
pub(super) const FRAME_BYTES: u32 = 128 * 1024;
/// The most that all properties but the headers take in a frame, and the frame itself.
const OTHER_PROPERTIES_BYTES: usize = 1600;
/// The most that the attributes of an event take.
const CLOUD_EVENT_BYTES: usize = 1200;
/// What is left free for a consumer's notes on a message, and for the other properties.
const NOTES_BYTES: usize = 4096;

pub(super) const PERSISTENT: u8 = 2;

/// What every message says of its sender.
#[derive(Debug, Default)]
pub(super) struct Sender {
    pub(super) app_id: Option<Short>,
    /// The source of its events, if its messages are to be events (`cloud_events`).
    pub(super) cloud_events: Option<String>,
}

/// Something to publish.
#[derive(Debug)]
pub(super) struct AmqpMessage {
    pub(super) exchange: Short,
    pub(super) routing_key: Short,
    pub(super) properties: BasicProperties,
    pub(super) body: Body,
}

/// A body that need not be copied.
#[derive(Clone)]
pub(super) enum Body {
    Half(Arc<Half>),
    Bytes(Arc<Vec<u8>>),
}

// Payloads are never shown.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Half(half) => &half.message.payload,
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl AmqpMessage {
    /// Says why a connection with frames of this size can't carry it, if it can't: the whole connection would be lost.
    pub(super) fn does_not_fit(&self, frame_bytes: u32) -> Option<String> {
        let headers = self.properties.headers().as_ref().map_or(0, table_bytes);
        let room = (frame_bytes as usize).saturating_sub(OTHER_PROPERTIES_BYTES);
        (headers > room).then(|| too_large(headers, room, frame_bytes))
    }
}

/// How many bytes of headers a message may have where frames have this size.
pub(super) fn room_for_headers(frame_bytes: u32) -> usize {
    let frame = frame_bytes as usize;
    HEADERS_BYTES.min(frame - NOTES_BYTES.min(frame / 2))
}

/// Says why a message can't be sent on a connection with frames of this size, if it can't.
pub(super) fn refusal(message: &Message, sender: &Sender, frame_bytes: u32) -> Option<String> {
    let attributes = if sender.cloud_events.is_some() { CLOUD_EVENT_BYTES } else { 0 };
    let (headers, room) = (headers_bytes(message) + attributes, room_for_headers(frame_bytes));
    amqp(message).err().or_else(|| (headers > room).then(|| too_large(headers, room, frame_bytes)))
}

fn too_large(headers: usize, room: usize, frame_bytes: u32) -> String {
    format!(
        "its headers take {headers} bytes, and there is room for {room} in one frame of AMQP: the connection's \
         `frame_max` is {frame_bytes} (RabbitMQ's setting, or the URL's)"
    )
}

/// A message on its way out. `Err`: AMQP can't carry it, ever. What was checked when it was stored
/// may have been another version of this crate's, or somebody's own `INSERT`.
pub(super) fn amqp_message(outgoing: &Outgoing, sender: &Sender) -> Result<AmqpMessage, String> {
    let Outgoing { half, attempt, .. } = outgoing;
    let message = &half.message;
    amqp(message)?;
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        if !name.starts_with(OURS) {
            headers.insert(short("header name", name)?, AMQPValue::LongString(value.as_str().into()));
        }
    }
    if let Some(source) = &sender.cloud_events {
        cloud_events::describe(&mut headers, source, half);
    }
    headers.insert(PUBLISH_ATTEMPT.into(), AMQPValue::LongLongInt((*attempt).into()));
    if let Some(due) = message.schedule.due() {
        headers.insert(DUE.into(), AMQPValue::LongLongInt(millis_of(due)));
    }
    if let Some(expires) = half.expires {
        let time = SystemTime::now() + expires.saturating_duration_since(Instant::now());
        headers.insert(EXPIRES.into(), AMQPValue::LongLongInt(millis_of(time)));
    }
    let mut properties = BasicProperties::default()
        .with_message_id(half.id.to_string().into())
        .with_content_type(short("content type", &message.content_type)?)
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    if let Some(made) = half.id.as_uuid().get_timestamp() {
        properties = properties.with_timestamp(made.to_unix().0);
    }
    if let Some(name) = &message.message_type {
        properties = properties.with_type(short("type", name)?);
    }
    if let Some(key) = &message.business_key {
        properties = properties.with_correlation_id(short("key", key)?);
    }
    if let Some(priority) = message.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(expires) = half.expires {
        let left = expires.saturating_duration_since(Instant::now());
        properties = properties.with_expiration(left.as_millis().to_string().into());
    }
    if let Some(app_id) = &sender.app_id {
        properties = properties.with_app_id(app_id.clone());
    }
    Ok(AmqpMessage {
        exchange: short("exchange", &message.exchange)?,
        routing_key: short("routing key", &message.routing_key)?,
        properties,
        body: Body::Half(Arc::clone(half)),
    })
}

/// Of Unix time.
fn millis_of(time: SystemTime) -> i64 {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}

fn short(what: &str, value: &str) -> Result<Short, String> {
    Short::try_new(value)
        .map_err(|_| format!("its {what} has {} bytes; AMQP carries at most 255", value.len()))
}

/// How many bytes a table takes in a frame, or somewhat more.
pub(super) fn table_bytes(table: &FieldTable) -> usize {
    table.into_iter().map(|(name, value)| 1 + name.as_str().len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AMQPValue) -> usize {
    let length = match value {
        AMQPValue::LongString(text) => text.len(),
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::ByteArray(bytes) => bytes.len(),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(value_bytes).sum(),
        AMQPValue::FieldTable(table) => table_bytes(table),
        _ => 8,
    };
    // The type, and the length of what has one.
    5 + length
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::{AnsweredBy, CallId, Message, MessageId};

    pub(crate) fn outgoing(message: Message) -> Outgoing {
        let id = MessageId::new();
        let (function, check_after) = ("f".into(), Duration::ZERO);
        let half = Half {
            id,
            call_id: CallId::of(id),
            service: "default".into(),
            package: None,
            function,
            answered_by: AnsweredBy::Nobody,
            check_after,
            expires: message.schedule.expiry(),
            message,
        };
        Outgoing { half: Arc::new(half), attempt: 3, suspect: false }
    }

    pub(crate) fn message() -> Message {
        Message::bytes("shop", "order.paid", "application/json", "{}")
            .business_key("k")
            .message_type("t.v1")
            .header("a", "1")
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused() {
        let long = "x".repeat(256);
        let refused = |message| amqp_message(&outgoing(message), &Sender::default()).expect_err("accepted");
        assert!(refused(Message::bytes(&long, "", "", "")).contains("exchange has 256 bytes"));
        assert!(refused(Message::bytes("", &long, "", "")).contains("routing key"));
        assert!(refused(message().business_key(&long)).contains("key"));
        assert!(refused(message().header(&long, "")).contains("header name"));
        assert!(refused(message().header("CC", "a")).contains("another name"));
        assert!(refused(message().header("a", "x".repeat(HEADERS_BYTES))).contains("a frame of AMQP"));
    }

    #[test]
    fn what_fits_into_a_frame_depends_on_its_size() {
        let with = |bytes: usize| message().header("large", "x".repeat(bytes));
        for (frame, bytes, fits) in [
            (FRAME_BYTES, 90_000, true),
            (8192, 3_900, true),
            (8192, 4_100, false),
            (4096, 1_900, true),
            (4096, 2_100, false),
            (u32::MAX, 90_000, true),
        ] {
            let refused = refusal(&with(bytes), &Sender::default(), frame);
            assert_eq!(refused.is_none(), fits, "{bytes} in {frame}: {refused:?}");
        }
        let amqp_message =
            amqp_message(&outgoing(with(10_000)), &Sender::default()).expect("AMQP carries it");
        let why = amqp_message.does_not_fit(8192).expect("too large");
        assert!(why.contains("`frame_max` is 8192"), "{why}");
        assert_eq!(amqp_message.does_not_fit(FRAME_BYTES), None);
    }
}
