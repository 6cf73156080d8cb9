//! A message as a [CloudEvent](https://cloudevents.io), version 1.0, in the binary mode of the AMQP binding: the attributes are
//! headers whose names begin with `cloudEvents:`, the data is the body, and `datacontenttype` is the content type. The binding is
//! about AMQP 1.0, whose application properties are what RabbitMQ makes of headers.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use lapin::types::{AMQPValue, FieldTable};

use crate::message::Half;

/// When it was made. Ids are anybody's: their time may be one that nobody can write.
fn time(half: &Half) -> Option<String> {
    let (seconds, nanos) = half.id.as_uuid().get_timestamp()?.to_unix();
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?;
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_millis(time)).ok()?;
    Some(text)
}

/// Adds the attributes of an event from `source`.
pub(super) fn describe(headers: &mut FieldTable, source: &str, half: &Half) {
    let message = &half.message;
    // An event has to have a type, and no attribute is empty.
    let kind = [message.message_type.as_deref(), Some(message.routing_key.as_str())];
    let kind = kind.into_iter().flatten().find(|kind| !kind.is_empty()).unwrap_or(&half.function);
    let mut add = |name: &str, value: &str| {
        headers.insert(format!("cloudEvents:{name}").into(), AMQPValue::LongString(value.into()));
    };
    add("specversion", "1.0");
    add("id", &half.id.to_string());
    add("source", source);
    add("type", kind);
    if let Some(key) = message.business_key.as_deref().filter(|key| !key.is_empty()) {
        add("subject", key);
    }
    if let Some(time) = time(half) {
        add("time", &time);
    }
}
