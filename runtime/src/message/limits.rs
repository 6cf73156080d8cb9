//! What a broker would refuse is refused here, before the half message is stored and the body runs.
//!
//! AMQP 0.9.1 carries names in strings of at most 255 bytes; headers that don't fit into one frame
//! cost RabbitMQ's client the whole connection, so they are bounded far below it. This holds for delivery within
//! the process, too: an application that moves to RabbitMQ must not find messages in its store that can't follow.
//! What depends on the broker is the transport's to say (`Transport::refuses`).

use super::Message;
use crate::error::{Error, ErrorKind};

/// The longest string that AMQP carries in a name: exchange, routing key, key, type, header name.
pub(crate) const SHORT_STRING_BYTES: usize = 255;

/// The most that headers take in a frame. RabbitMQ's frames have 128 KiB, which have to hold the other properties, and
/// what a consumer's queues note, too.
pub(crate) const HEADERS_BYTES: usize = 96 * 1024;

/// This crate's own headers. A message's own with such names are left out.
pub(crate) const OURS: &str = "x-tm-";
/// RabbitMQ reads further routing keys out of these.
pub(crate) const ROUTING: [&str; 2] = ["CC", "BCC"];

/// Says what of a message AMQP can't carry, ever.
pub(crate) fn amqp(message: &Message) -> Result<(), String> {
    short("exchange", &message.exchange)?;
    short("routing key", &message.routing_key)?;
    short("content type", &message.content_type)?;
    message.business_key.as_deref().map_or(Ok(()), |key| short("business key", key))?;
    message.message_type.as_deref().map_or(Ok(()), |name| short("type", name))?;
    for (name, _) in &message.headers {
        short("header name", name)?;
        if ROUTING.contains(&name.as_str()) {
            return Err(format!(
                "its header `{name}` is read by RabbitMQ as routing keys: give it another name"
            ));
        }
    }
    let bytes = headers_bytes(message);
    if bytes > HEADERS_BYTES {
        return Err(format!(
            "its {} headers take {bytes} bytes in a frame of AMQP, where there is room for {HEADERS_BYTES}",
            message.headers.len()
        ));
    }
    Ok(())
}

/// How many bytes a message's headers take in a frame, or somewhat more.
pub(crate) fn headers_bytes(message: &Message) -> usize {
    // The length of the name, the type, and the length of the value stand before each; three are of our own.
    let carried = message.headers.iter().filter(|(name, _)| !name.starts_with(OURS));
    carried.map(|(name, value)| 1 + name.len() + 5 + value.len()).sum::<usize>() + 96
}

fn short(what: &str, value: &str) -> Result<(), String> {
    if value.len() <= SHORT_STRING_BYTES {
        return Ok(());
    }
    Err(format!("its {what} has {} bytes; AMQP carries at most {SHORT_STRING_BYTES}", value.len()))
}

/// Limits on one message, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) headers_bytes: usize,
}

impl Limits {
    /// Says what is wrong with `message`, if anything is.
    pub(crate) fn check(self, message: &Message) -> Result<(), Error> {
        amqp(message).map_err(|why| invalid(format!("the message can't be sent: {why}")))?;
        no_nul("exchange", &message.exchange)?;
        no_nul("routing key", &message.routing_key)?;
        no_nul("content type", &message.content_type)?;
        no_nul("business key", message.business_key.as_deref().unwrap_or_default())?;
        no_nul("type", message.message_type.as_deref().unwrap_or_default())?;
        for (name, value) in &message.headers {
            no_nul("header name", name)?;
            no_nul("header value", value)?;
        }
        message.schedule.check().map_err(|why| invalid(format!("the message can't be sent: {why}")))?;
        self.check_body(&message.payload)?;
        let headers = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        at_most("headers take", headers, self.headers_bytes, "headers_limit")
    }

    /// Checks a body alone, as for an amended one.
    pub(crate) fn check_body(self, payload: &[u8]) -> Result<(), Error> {
        at_most("body takes", payload.len(), self.body_bytes, "body_limit")
    }
}

// PostgreSQL's text cannot hold a NUL; one such row would fail the whole batch it is stored with.
fn no_nul(what: &str, value: &str) -> Result<(), Error> {
    if value.contains('\0') {
        return Err(invalid(format!("the message's {what} contains a NUL character")));
    }
    Ok(())
}

fn at_most(what: &str, bytes: usize, limit: usize, setting: &str) -> Result<(), Error> {
    if bytes <= limit {
        return Ok(());
    }
    Err(invalid(format!(
        "the message's {what} {bytes} bytes, more than the setting `{setting}` allows ({limit})"
    )))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidMessage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { body_bytes: 16, headers_bytes: 16 };

    fn message() -> Message {
        Message::bytes("exchange", "key", "text/plain", "body")
    }

    #[track_caller]
    fn refused(message: &Message, expected: &str) {
        let error = LIMITS.check(message).expect_err("accepted");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.body_ran());
    }

    #[test]
    fn what_fits_is_accepted() {
        let longest = "k".repeat(SHORT_STRING_BYTES);
        LIMITS
            .check(&message().business_key(&longest).message_type(&longest).header("a", "b"))
            .expect("fits");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let long = "k".repeat(SHORT_STRING_BYTES + 1);
        refused(&Message::bytes(&long, "k", "t", ""), "exchange has 256 bytes");
        refused(&Message::bytes("e", &long, "t", ""), "routing key has 256 bytes");
        refused(&message().business_key(&long), "business key has 256 bytes");
        refused(&message().message_type(&long), "type has 256 bytes");
        refused(&message().header(&long, ""), "header name has 256 bytes");
        refused(&message().header("name", "thirteen bytes"), "`headers_limit`");
        refused(&Message::bytes("e", "k", "t", [0; 17]), "`body_limit`");
        refused(&message().business_key("a\0b"), "NUL");
        refused(&message().header("BCC", "x"), "header `BCC` is read by RabbitMQ");
        refused(&message().message_type(&long).header("CC", "x"), "type has 256 bytes");
    }

    #[test]
    fn headers_are_measured_as_a_frame_has_them() {
        let many =
            |count: usize| (0..count).fold(message(), |message, n| message.header(format!("{n:x}"), ""));
        let limits = Limits { body_bytes: 16, headers_bytes: 64 * 1024 };
        limits.check(&many(9_000)).expect("fits");
        let error = limits.check(&many(11_000)).expect_err("accepted").to_string();
        assert!(error.contains("its 11000 headers take") && error.contains("98304"), "{error}");
    }
}
