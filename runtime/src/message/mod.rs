//! The domain: what a message is, the states it goes through, the limits it must keep. No I/O.

mod evidence;
mod id;
pub(crate) mod limits;
mod outcome;
mod pause;
pub(crate) mod schedule;
pub(crate) mod service;
pub(crate) mod state;

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::error::{Error, ErrorKind};
pub use evidence::Evidence;
pub(crate) use id::FenceId;
pub use id::{CallId, MessageId};
pub use outcome::Outcome;
pub use pause::Pausable;
use schedule::{NotBefore, Schedule};

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
    pub(crate) priority: Option<u8>,
    pub(crate) schedule: Schedule,
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
            priority: None,
            schedule: Schedule::default(),
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

    /// Delivers the message not before so much time has passed since it was stored, by the store's clock. Until then it
    /// stands in the store, confirmed, and survives restarts. At most ten years.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.schedule.not_before = Some(NotBefore::After(delay));
        self
    }

    /// Delivers the message not before this time, by the sender's clock; at once, if it is past. Takes the place of a
    /// [`delay`](Self::delay).
    #[must_use]
    pub const fn deliver_at(mut self, time: SystemTime) -> Self {
        self.schedule.not_before = Some(NotBefore::At(time));
        self
    }

    /// Does not deliver the message when it is late: more than `time` after it could first be delivered, which is when it was
    /// stored, or at the end of its delay. It is [`Expired`](crate::MessageState::Expired) then. With RabbitMQ, what is left
    /// of the time is the `expiration` of AMQP: a message that waits longer in its queue goes to the dead letters.
    #[must_use]
    pub const fn expires_in(mut self, time: Duration) -> Self {
        self.schedule.expires_in = Some(time);
        self
    }

    /// AMQP `priority`, for queues that have priorities. RabbitMQ's quorum queues know two: up to 4, and above. Delivery within
    /// the process knows none.
    #[must_use]
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
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
    /// When this copy expires, if it does.
    pub(crate) expires: Option<Instant>,
    pub(crate) message: Message,
}

impl Half {
    /// How long ago it could first have been delivered.
    pub(crate) fn age(&self) -> Duration {
        age(self.id, self.message.schedule.due())
    }

    /// Whether it expired.
    pub(crate) fn is_late(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }

    /// With its new payload, if it has one.
    pub(crate) fn amended(self: &Arc<Self>, payload: Option<&Vec<u8>>) -> Arc<Self> {
        let mut half = Arc::clone(self);
        if let Some(payload) = payload {
            Arc::make_mut(&mut half).message.payload.clone_from(payload);
        }
        half
    }
}

/// Since when a message could have been delivered: the time in its id, or when it fell due, if that was later; since 1970. An
/// id of somebody else's making may have none.
pub(crate) fn begins(id: MessageId, due: Option<SystemTime>) -> Option<Duration> {
    let (seconds, nanos) = id.as_uuid().get_timestamp()?.to_unix();
    let due = due.and_then(|due| due.duration_since(SystemTime::UNIX_EPOCH).ok());
    Some(Duration::new(seconds, nanos).max(due.unwrap_or_default()))
}

/// How long ago it was sent; an id of somebody else's making may not tell.
pub(crate) fn sent_ago(id: MessageId) -> Option<Duration> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    begins(id, None).map(|sent| now.saturating_sub(sent))
}

/// For how long. A message of which nobody knows is taken for new.
pub(crate) fn age(id: MessageId, due: Option<SystemTime>) -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    begins(id, due).map_or(Duration::ZERO, |begins| now.saturating_sub(begins))
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
            prop_assert!(age(Uuid::from_u128(id).into(), None) <= SystemTime::UNIX_EPOCH.elapsed().expect("later"));
        }
    }

    #[test]
    fn an_id_that_has_a_time_is_as_old_as_that() {
        let id = |seconds| Uuid::new_v7(Timestamp::from_unix(uuid::NoContext, seconds, 0)).into();
        let of = |seconds| age(id(seconds), None);
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("later").as_secs();
        assert!((59..70).contains(&of(now - 60).as_secs()));
        assert_eq!((of(now + 60), age(Uuid::new_v4().into(), None)), (Duration::ZERO, Duration::ZERO));
        let due = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert!((29..40).contains(&age(id(now - 60), due(now - 30)).as_secs()));
        assert!((59..70).contains(&age(id(now - 60), due(now - 90)).as_secs()));
    }
}
