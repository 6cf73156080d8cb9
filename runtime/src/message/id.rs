//! Ids: UUIDs that can't be taken for each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An id, which is a UUID to everybody else: in texts, in JSON, and as a value of a statement.
macro_rules! id {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes a UUID for such an id: one that was stored, for example.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id! {
    /// Identifies a message for its whole life: a UUID of version 7, made once, the same at every delivery.
    ///
    /// sqlx binds and reads it as it does a [`Uuid`]; its macros, which want that very type, take
    /// [`as_uuid()`](Self::as_uuid).
    MessageId
}

id! {
    /// Identifies a call: a UUID of version 7, which is also the id of the call's first message.
    ///
    /// sqlx binds and reads it as it does a [`Uuid`]; its macros, which want that very type, take
    /// [`as_uuid()`](Self::as_uuid).
    CallId
}

id! {
    /// Identifies a fence database: made when its tables are created, and stored in them.
    FenceId
}

impl MessageId {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl CallId {
    /// Of a call without messages.
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Of a call whose first message has this id.
    pub(crate) const fn of(first: MessageId) -> Self {
        Self(first.0)
    }
}
