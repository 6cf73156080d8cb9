//! What handlers are given: check-back handlers the half message, and all of them the application's data.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::message::{CallId, MessageId};
use crate::store::ClaimedRow;

/// The body of a half message as it was stored.
///
/// `Debug` shows only its length: it may be private.
#[derive(Clone, PartialEq, Eq)]
pub struct RawPayload(pub Vec<u8>);

impl fmt::Debug for RawPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPayload({} bytes)", self.0.len())
    }
}

/// A half message whose outcome is asked for. `T` is the type of its payload; without it, the
/// payload is [`RawPayload`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HalfMessage<T = RawPayload> {
    /// The message's id: what [`call_id`](crate::call_id) was in the body, unless the call
    /// has several messages.
    pub id: MessageId,
    /// The call's id: what [`call_id`](crate::call_id) was in the body.
    pub call_id: CallId,
    /// The business key.
    pub business_key: Option<String>,
    /// How long ago the half message was stored, by the store's clock.
    pub age: Duration,
    /// Which question this is, from 1: those before it count that had no clear answer, or that the process died over when
    /// it was asked alone.
    pub attempt: u32,
    /// The decoded payload.
    pub payload: T,
}

/// A question on its way to a handler.
#[derive(Clone, Debug)]
pub struct Asked {
    pub(crate) row: Arc<ClaimedRow>,
    pub(crate) data: DataMap,
}

impl Asked {
    pub(super) fn half<M: Decode>(&self) -> Result<HalfMessage<M>, String> {
        let half = &self.row.half;
        Ok(HalfMessage {
            id: half.id,
            call_id: half.call_id,
            business_key: half.message.business_key.clone(),
            age: self.row.age,
            attempt: self.row.attempts.saturating_add(1),
            payload: M::decode(&half.message.payload)
                .map_err(|why| format!("the payload is not what the handler takes: {why}"))?,
        })
    }
}

/// A payload that a check-back handler can be given.
pub trait Decode: Sized {
    #[doc(hidden)]
    fn decode(body: &[u8]) -> Result<Self, String>;
}

impl Decode for RawPayload {
    fn decode(body: &[u8]) -> Result<Self, String> {
        Ok(Self(body.to_vec()))
    }
}

impl<T: DeserializeOwned> Decode for T {
    fn decode(body: &[u8]) -> Result<Self, String> {
        // Its own text quotes what it found, and payloads are never logged.
        serde_json::from_slice(body).map_err(|error| {
            let what = match error.classify() {
                Category::Data => "not of the expected type",
                Category::Syntax | Category::Eof | Category::Io => "no valid JSON",
            };
            format!("{what}, at line {} column {}", error.line(), error.column())
        })
    }
}

/// The application's own data, given to the messenger's builder by
/// [`data`](crate::MessengerBuilder::data): a connection pool, a client.
#[derive(Clone, Copy, Debug)]
pub struct Data<T>(pub T);

impl<T> Deref for Data<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What a handler can take after its message: [`Data`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    label = "not `Data<T>`",
    note = "after `HalfMessage<T>` or `Received<T>`, a handler takes `transactional_message::Data<T>` arguments, with `T: Clone`"
)]
pub trait Extract: Sized + Send {
    #[doc(hidden)]
    fn need() -> Need;
    #[doc(hidden)]
    fn extract(data: &DataMap) -> Result<Self, String>;
}

/// A type of data, and its name.
pub(crate) type Need = (TypeId, &'static str);

impl<T: Clone + Send + Sync + 'static> Extract for Data<T> {
    fn need() -> Need {
        (TypeId::of::<T>(), type_name::<T>())
    }

    fn extract(data: &DataMap) -> Result<Self, String> {
        data.get::<T>().cloned().map(Self).ok_or_else(|| missing(type_name::<T>()))
    }
}

fn missing(type_name: &str) -> String {
    format!(
        "`Data<{type_name}>`, which the messenger does not have: add `.data(..)` with a `{type_name}` to its builder"
    )
}

/// The application's data by type.
#[derive(Clone, Default)]
pub struct DataMap(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl fmt::Debug for DataMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataMap").finish_non_exhaustive()
    }
}

impl DataMap {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Errs with what is not there, and the remedy.
    pub(crate) fn has_all(&self, needs: &[Need]) -> Result<(), String> {
        let missed = needs.iter().find(|(id, _)| !self.0.contains_key(id));
        missed.map_or(Ok(()), |(_, name)| Err(missing(name)))
    }

    fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}
