//! A message as a [CloudEvent](https://cloudevents.io), version 1.0, in the binary mode of the AMQP binding: the attributes are
//! headers whose names begin with `cloudEvents:`, the data is the body, and `datacontenttype` is the content type. The binding is
//! about AMQP 1.0, whose application properties are what RabbitMQ makes of headers.

use std::time::{Duration, SystemTime};

use lapin::types::{AMQPValue, FieldTable};

use crate::message::Half;

/// Adds the attributes of an event from `source`.
pub(super) fn describe(headers: &mut FieldTable, source: &str, half: &Half) {
    let message = &half.message;
    // An event has to have a type.
    let kind = message.message_type.as_deref().unwrap_or(&message.routing_key);
    let mut add = |name: &str, value: &str| {
        headers.insert(format!("cloudEvents:{name}").into(), AMQPValue::LongString(value.into()));
    };
    add("specversion", "1.0");
    add("id", &half.id.to_string());
    add("source", source);
    add("type", kind);
    if let Some(key) = &message.business_key {
        add("subject", key);
    }
    if let Some(made) = half.id.as_uuid().get_timestamp() {
        let (seconds, nanos) = made.to_unix();
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        add("time", &humantime::format_rfc3339_millis(time).to_string());
    }
}
