//! Messages of other publishers: what identifies them.

use std::fmt;
#[cfg(feature = "rabbitmq")]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

#[cfg(feature = "rabbitmq")]
use uuid::Uuid;

#[cfg(feature = "rabbitmq")]
use crate::message::MessageId;

/// A message of any publisher, as [`Consumer::identified_by`](crate::Consumer::identified_by) is shown it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Foreign<'m> {
    /// AMQP `message_id`, whatever its form.
    pub message_id: Option<&'m str>,
    /// AMQP `correlation_id`.
    pub correlation_id: Option<&'m str>,
    /// AMQP `type`.
    pub message_type: Option<&'m str>,
    /// Where it was sent.
    pub exchange: &'m str,
    /// Where it was sent.
    pub routing_key: &'m str,
    /// The sender's headers, as text.
    pub headers: &'m [(String, String)],
    /// The body.
    pub body: &'m [u8],
}

// Bodies and headers may be private.
impl fmt::Debug for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign")
            .field("message_id", &self.message_id)
            .field("message_type", &self.message_type)
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .finish_non_exhaustive()
    }
}

type Key = dyn Fn(&Foreign<'_>) -> Option<String> + Send + Sync;

/// Says what identifies a message.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "rabbitmq"),
    expect(dead_code, reason = "within the process, there are no other publishers")
)]
pub(crate) struct Identify(Arc<Key>);

impl Identify {
    pub(crate) fn new(key: impl Fn(&Foreign<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(key))
    }

    #[cfg(feature = "rabbitmq")]
    /// The id of a message that has a key: the same for the same key. It has no time in it.
    pub(crate) fn id(&self, message: &Foreign<'_>) -> Result<Option<MessageId>, String> {
        let key = catch_unwind(AssertUnwindSafe(|| (self.0)(message)));
        let key =
            key.map_err(|_| "the function that `identified_by` was given panicked over it".to_owned())?;
        Ok(key.map(|key| MessageId::from(Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()))))
    }
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identify")
    }
}
