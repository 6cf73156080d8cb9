//! The domain: what a message is, the states it goes through, the limits it must keep. No I/O.

mod id;
pub(crate) mod limits;
mod outcome;
pub(crate) mod service;
pub(crate) mod state;

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::error::{Error, ErrorKind};
pub(crate) use id::FenceId;
pub use id::{CallId, MessageId};
pub use outcome::Outcome;

/// What can be sent: every type that implements [`serde::Serialize`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a message",
    label = "does not implement `serde::Serialize`",
    note = "messages are encoded as JSON: add `#[derive(serde::Serialize)]` to the type of `message`"
)]
pub trait Payload {
    /// Encodes the payload as JSON.
    ///
    /// # Errors
    /// When the type's own `Serialize` fails.
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error>;
}

impl<T: Serialize + ?Sized> Payload for T {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// A message to be sent: where to, and what. See [`Messenger::call`](crate::Messenger::call).
///
/// `Debug` shows neither payload nor header values: they may be private.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "`type` is a keyword")]
pub struct Message {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) message_type: Option<String>,
    pub(crate) content_type: String,
    pub(crate) business_key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// A message with `payload` encoded as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMessage`] when the payload's `Serialize` fails.
    pub fn json<M: Payload + ?Sized>(
        exchange: impl Display,
        routing_key: impl Display,
        payload: &M,
    ) -> Result<Self, Error> {
        let payload = payload.encode().map_err(|cause| {
            Error::new(ErrorKind::InvalidMessage, "the message could not be encoded as JSON")
                .with_source(cause)
        })?;
        Ok(Self::bytes(exchange, routing_key, "application/json", payload))
    }

    /// A message whose body is already encoded.
    pub fn bytes(
        exchange: impl Display,
        routing_key: impl Display,
        content_type: impl Display,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            exchange: exchange.to_string(),
            routing_key: routing_key.to_string(),
            message_type: None,
            content_type: content_type.to_string(),
            business_key: None,
            headers: Vec::new(),
            payload: payload.into(),
        }
    }

    /// The business key, for people and tools that look a message up (AMQP `correlation_id`).
    #[must_use]
    pub fn business_key(mut self, key: impl Display) -> Self {
        self.business_key = Some(key.to_string());
        self
    }

    /// Adds a header. One that is named `CC` or `BCC` is refused before the body runs: RabbitMQ reads routing keys out of
    /// it. So are headers that take more than 96 KiB in a frame of AMQP, or than the broker's frames hold.
    #[must_use]
    pub fn header(mut self, name: impl Display, value: impl Display) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// The stable name of the payload's format (AMQP `type`), for consumers that take several.
    #[must_use]
    pub fn message_type(mut self, name: impl Display) -> Self {
        self.message_type = Some(name.to_string());
        self
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("message_type", &self.message_type)
            .field("business_key", &self.business_key)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The service of a messenger that has no name, and of messages that were stored before there were names.
pub(crate) const DEFAULT_SERVICE: &str = "default";

/// Who can tell whether the business action took effect. Stored with the half message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AnsweredBy {
    /// The fence in the business database with this identity.
    Fence(FenceId),
    /// The check-back handler with this name, in a process of this service.
    Handler { service: String, name: String },
    /// Nobody but an operator: a fenced function that forgot `begin` has no fence row.
    Nobody,
}

impl Display for AnsweredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fence(identity) => write!(f, "fence:{identity}"),
            // As it was before there were services, so that old rows and old processes are understood.
            Self::Handler { service, name } if service == DEFAULT_SERVICE && !name.starts_with('@') => {
                write!(f, "handler:{name}")
            }
            Self::Handler { service, name } => write!(f, "handler:@{service}:{name}"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

impl std::str::FromStr for AnsweredBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("fence", identity)) => identity.parse().map(Self::Fence).map_err(|cause| cause.to_string()),
            Some(("handler", handler)) => {
                let named = handler.strip_prefix('@').and_then(|named| named.split_once(':'));
                let (service, name) = named.unwrap_or((DEFAULT_SERVICE, handler));
                Ok(Self::Handler { service: service.to_owned(), name: name.to_owned() })
            }
            None if text == "nobody" => Ok(Self::Nobody),
            _ => Err(format!("`{text}` names neither a fence nor a handler")),
        }
    }
}

/// A half message as it is handed to the store.
#[derive(Clone, Debug)]
pub struct Half {
    pub(crate) id: MessageId,
    /// The id of the call's first message; the fence row is keyed by it.
    pub(crate) call_id: CallId,
    /// Whose processes deliver it.
    pub(crate) service: String,
    /// The package that named its check-back handler, if an attribute did.
    pub(crate) package: Option<String>,
    /// The annotated function, for people who read logs.
    pub(crate) function: String,
    pub(crate) answered_by: AnsweredBy,
    /// How long after its holder vanished a handler may first be asked. Zero for a fence.
    pub(crate) check_after: Duration,
    pub(crate) message: Message,
}

impl Half {
    /// With its new payload, if it has one.
    pub(crate) fn amended(self: &Arc<Self>, payload: Option<&Vec<u8>>) -> Arc<Self> {
        let mut half = Arc::clone(self);
        if let Some(payload) = payload {
            Arc::make_mut(&mut half).message.payload.clone_from(payload);
        }
        half
    }
}

/// How old a message is, by the time in its id. An id of somebody else's making may have none; then
/// nobody knows, and it is taken for new.
pub(crate) fn age(id: MessageId) -> Duration {
    let Some(made) = id.as_uuid().get_timestamp() else { return Duration::ZERO };
    let (seconds, nanos) = made.to_unix();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.saturating_sub(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::{Timestamp, Uuid};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Ids are other people's, too.
        #[test]
        fn any_id_has_an_age(bits: u128, version in 0..=15_u128) {
            let id = bits & !(0xf << 76) | version << 76;
            prop_assert!(age(Uuid::from_u128(id).into()) <= SystemTime::UNIX_EPOCH.elapsed().expect("later"));
        }
    }

    #[test]
    fn an_id_that_has_a_time_is_as_old_as_that() {
        let of = |seconds| age(Uuid::new_v7(Timestamp::from_unix(uuid::NoContext, seconds, 0)).into());
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("later").as_secs();
        assert!((59..70).contains(&of(now - 60).as_secs()));
        assert_eq!((of(now + 60), age(Uuid::new_v4().into())), (Duration::ZERO, Duration::ZERO));
    }
}
