//! A message as AMQP carries it, and the names of this crate's headers.

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::message::Half;
use crate::transport::Outgoing;

pub(super) type Short = ShortString;

/// This crate's own headers.
pub(super) const OURS: &str = "x-tm-";
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
/// RabbitMQ reads further routing keys out of these.
pub(super) const ROUTING: [&str; 2] = ["CC", "BCC"];
/// All headers must fit into one frame, or the whole connection is lost. Frames have 128 KiB.
pub(super) const HEADERS_BYTES: usize = 96 * 1024;

pub(super) const PERSISTENT: u8 = 2;

/// Something to publish.
#[derive(Debug)]
pub(super) struct Letter {
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

/// A message on its way out. `Err`: AMQP can't carry it, ever. What was checked when it was stored
/// may have been another version of this crate's, or somebody's own `INSERT`.
pub(super) fn letter(outgoing: &Outgoing, app_id: Option<&Short>) -> Result<Letter, String> {
    let Outgoing { half, attempt, .. } = outgoing;
    let message = &half.message;
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        if ROUTING.contains(&name.as_str()) {
            return Err(format!(
                "the header `{name}` is read by RabbitMQ as routing keys: give it another name"
            ));
        }
        if !name.starts_with(OURS) {
            headers.insert(short("header name", name)?, AMQPValue::LongString(value.as_str().into()));
        }
    }
    headers.insert(PUBLISH_ATTEMPT.into(), AMQPValue::LongLongInt((*attempt).into()));
    if table_bytes(&headers) > HEADERS_BYTES {
        return Err("its headers don't fit into one frame of AMQP".into());
    }
    let mut properties = BasicProperties::default()
        .with_message_id(half.id.to_string().into())
        .with_content_type(short("content type", &message.content_type)?)
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    if let Some(made) = half.id.get_timestamp() {
        properties = properties.with_timestamp(made.to_unix().0);
    }
    if let Some(name) = &message.message_type {
        properties = properties.with_type(short("type", name)?);
    }
    if let Some(key) = &message.key {
        properties = properties.with_correlation_id(short("key", key)?);
    }
    if let Some(app_id) = app_id {
        properties = properties.with_app_id(app_id.clone());
    }
    Ok(Letter {
        exchange: short("exchange", &message.exchange)?,
        routing_key: short("routing key", &message.routing_key)?,
        properties,
        body: Body::Half(Arc::clone(half)),
    })
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

    use uuid::Uuid;

    use super::*;
    use crate::message::{AnsweredBy, Message};

    pub(crate) fn outgoing(message: Message) -> Outgoing {
        let id = Uuid::now_v7();
        let (function, check_after) = ("f".into(), Duration::ZERO);
        let half = Half {
            id,
            call_id: id,
            service: "default".into(),
            package: None,
            function,
            answered_by: AnsweredBy::Nobody,
            check_after,
            message,
        };
        Outgoing { half: Arc::new(half), attempt: 3, suspect: false }
    }

    pub(crate) fn message() -> Message {
        Message::bytes("shop", "order.paid", "application/json", "{}")
            .key("k")
            .message_type("t.v1")
            .header("a", "1")
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused() {
        let long = "x".repeat(256);
        let refused = |message| letter(&outgoing(message), None).expect_err("accepted");
        assert!(refused(Message::bytes(&long, "", "", "")).contains("exchange has 256 bytes"));
        assert!(refused(Message::bytes("", &long, "", "")).contains("routing key"));
        assert!(refused(message().key(&long)).contains("key"));
        assert!(refused(message().header(&long, "")).contains("header name"));
        assert!(refused(message().header("CC", "a")).contains("another name"));
        assert!(refused(message().header("a", "x".repeat(HEADERS_BYTES))).contains("one frame"));
    }
}
