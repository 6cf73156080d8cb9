//! Which message is to blame when a channel ends, or the connection.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What the channels of a connection know of each other.
///
/// Who ends a channel was on it. Who ends the connection could be on any of them: so a suspect is published while nothing
/// else is, and blamed for the end of a connection on which nothing failed before. What lapin has in hand when the broker
/// ends a channel goes out after its answer to that, and ends the connection (504, "expected 'channel.open'").
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    publishing: RwLock<()>,
    failed: AtomicBool,
}

/// Held while a batch is published and judged.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub(super) enum Turn<'a> {
    Beside(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

impl Neighbours {
    /// Waits until no suspect is being published; for a suspect, until nothing is. Whoever publishes has a time-out, so the
    /// wait has an end.
    pub(super) async fn turn(&self, suspect: bool) -> Turn<'_> {
        if suspect {
            Turn::Alone(self.publishing.write().await)
        } else {
            Turn::Beside(self.publishing.read().await)
        }
    }

    /// Notes that something failed. Whether it was the first time on this connection.
    pub(super) fn fails_first(&self) -> bool {
        !self.failed.swap(true, Ordering::Relaxed)
    }
}

/// What the broker refused, by refusing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// All messages to its exchange.
    Exchange,
    /// All messages to its exchange with its routing key.
    RoutingKey,
    /// That message.
    Message,
}

/// RabbitMQ has one code for all that a user may not do, and says the rest in words (the same from 3.10 to 4.3).
pub(super) fn refused_what(code: Option<u16>, said: &str) -> What {
    // Up to the first name: those are anybody's.
    let said = said.split('\'').next().unwrap_or_default();
    match code {
        Some(403) if said.contains("access to topic") => What::RoutingKey,
        Some(403) if said.contains("access to exchange") || said.contains("internal exchange") => {
            What::Exchange
        }
        _ => What::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RabbitMQ 3.10, 4.0 and 4.3 say it.
    #[test]
    fn a_refusal_is_of_what_it_names() {
        for (code, said, what) in [
            (
                403,
                "ACCESS_REFUSED - access to topic 'secret' in exchange 'shop' in vhost '/' refused for user 'u'",
                What::RoutingKey,
            ),
            (
                403,
                "ACCESS_REFUSED - write access to topic 'secret' in exchange 'shop' in vhost '/' refused for user 'u'",
                What::RoutingKey,
            ),
            (
                403,
                "ACCESS_REFUSED - access to exchange 'shop' in vhost '/' refused for user 'u'",
                What::Exchange,
            ),
            (
                403,
                "ACCESS_REFUSED - write access to exchange 'shop' in vhost '/' refused for user 'u'",
                What::Exchange,
            ),
            (403, "ACCESS_REFUSED - cannot publish to internal exchange 'shop' in vhost '/'", What::Exchange),
            (403, "ACCESS_REFUSED - of a kind that is not known yet", What::Message),
            (
                406,
                "PRECONDITION_FAILED - user_id property set to 'a' but authenticated user was 'u'",
                What::Message,
            ),
            (
                406,
                "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000",
                What::Message,
            ),
        ] {
            assert_eq!(refused_what(Some(code), said), what, "{said}");
        }
        assert_eq!(refused_what(None, "access to topic"), What::Message);
    }
}
