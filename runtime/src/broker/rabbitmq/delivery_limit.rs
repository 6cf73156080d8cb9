//! How often a queue lets a message come back before it drops it, and which versions of RabbitMQ count what.

use std::fmt;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take that is only nice to know.
const PATIENCE: Duration = Duration::from_secs(3);
/// A limit below this is reached by people who look, and by processes that die over other messages.
const FEW: i64 = 1000;

/// The delivery limit with which a queue was declared, as far as that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// This crate's.
    Ours,
    /// None: RabbitMQ's default counts, or a policy.
    Missing,
    /// Another one.
    Other(String),
    /// It is another kind of queue, or this user may not ask.
    Unknown,
}

impl Limit {
    /// Whether nobody reaches it, on any version: 3.x takes a negative one for the strictest.
    pub(super) fn is_large(&self) -> bool {
        match self {
            Self::Ours => true,
            Self::Other(number) => number.parse::<i64>().is_ok_and(|number| number >= FEW),
            Self::Missing | Self::Unknown => false,
        }
    }

    fn is_negative(&self) -> bool {
        matches!(self, Self::Other(number) if number.starts_with('-'))
    }
}

/// What a refusal says of the limit that is there, if it is about the limit.
pub(super) fn said_limit(said: &str) -> Option<Limit> {
    let (_, current) = said.split_once("'x-delivery-limit'")?.1.rsplit_once("current is ")?;
    let value = current.split('\'').nth(1);
    Some(value.map_or(Limit::Missing, |value| Limit::Other(value.to_owned())))
}

/// Which RabbitMQ it is, as far as that could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(Option<String>);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(version) => write!(f, "RabbitMQ {version}"),
            None => f.write_str("RabbitMQ of an unknown version"),
        }
    }
}

impl Version {
    /// Asks the first of these nodes that answers.
    pub(super) async fn of(nodes: &[AMQPUri]) -> Self {
        for node in nodes.iter().filter(|node| node.scheme == AMQPScheme::AMQP) {
            let place = (node.authority.host.as_str(), node.authority.port);
            if let Ok(Some(version)) = timeout(PATIENCE, greeting(place)).await {
                return Self(Some(version));
            }
        }
        Self(None)
    }

    /// Whether it is surely older.
    fn is_before(&self, major: u32, minor: u32) -> bool {
        self.parts().is_some_and(|parts| parts < (major, minor))
    }

    /// Whether it is surely not older.
    fn is_surely_since(&self, major: u32, minor: u32) -> bool {
        self.parts().is_some_and(|parts| parts >= (major, minor))
    }

    fn parts(&self) -> Option<(u32, u32)> {
        let mut parts = self.0.as_ref()?.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    }

    /// Why a queue with this limit drops messages too soon, if it may.
    pub(super) fn drops(&self, limit: &Limit) -> Option<String> {
        match limit {
            limit if limit.is_large() => None,
            // Since version 4, no limit at all.
            limit if limit.is_negative() && self.is_surely_since(4, 0) => None,
            Limit::Other(number) => {
                Some(format!("{self}; the queue was declared with the delivery limit {number}"))
            }
            // Before version 4, a queue without a limit drops nothing.
            Limit::Missing if self.is_before(4, 0) => None,
            Limit::Missing => {
                Some(format!("{self}, where a queue without a delivery limit has one of 20 since version 4"))
            }
            Limit::Ours | Limit::Unknown => None,
        }
    }

    /// The same for messages that are looked at: since 4.3, what is given back in order does not count.
    pub(super) fn drops_what_is_looked_at(&self, limit: &Limit) -> Option<String> {
        self.drops(limit).filter(|_| self.counts_looks())
    }

    /// Whether what is looked at may be dropped where the limit can't be seen.
    pub(super) fn may_drop_what_is_looked_at(&self) -> bool {
        self.may_drop() && self.counts_looks()
    }

    fn counts_looks(&self) -> bool {
        !self.is_surely_since(4, 3)
    }

    /// Whether a limit that can't be seen may be a small one.
    pub(super) fn may_drop(&self) -> bool {
        !self.is_before(4, 0)
    }
}

/// What a server says when somebody connects. lapin keeps that for itself, so the first frame is read from a connection of
/// our own, which is given up then. Not with TLS.
async fn greeting(place: (&str, u16)) -> Option<String> {
    const MOST: u32 = 64 * 1024;
    let mut stream = TcpStream::connect(place).await.ok()?;
    stream.write_all(b"AMQP\0\0\x09\x01").await.ok()?;
    let _kind_and_channel = (stream.read_u8().await.ok()?, stream.read_u16().await.ok()?);
    let length = stream.read_u32().await.ok().filter(|length| *length <= MOST)?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.ok()?;
    said_version(&frame)
}

/// The text under the name `version`, in a table of AMQP.
fn said_version(frame: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\x07versionS";
    let at = frame.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    let length = frame.get(at..at + 4)?.try_into().map(u32::from_be_bytes).ok()? as usize;
    let version = frame.get(at + 4..at + 4 + length)?;
    String::from_utf8(version.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_or_not() {
        assert_eq!(said_version(b"..\x07versionS\0\0\0\x043.10.."), Some("3.10".into()));
        for odd in
            [&b""[..], b"\x07versionS", b"\x07versionS\xff\xff\xff\xff4", b"\x07versionS\0\0\0\x01\xff"]
        {
            assert_eq!(said_version(odd), None, "{odd:?}");
        }
    }

    /// As RabbitMQ 3.10 and 4.2 say it.
    #[test]
    fn a_refusal_names_the_limit_that_is_there() {
        let said = |end: &str| {
            said_limit(&format!(
                "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'books.dead' in vhost '/': {end}"
            ))
        };
        let received = "received the value '1000000000' of type 'signedint' but current is";
        assert_eq!(said(&format!("{received} none")), Some(Limit::Missing));
        assert_eq!(said(&format!("{received} the value '5' of type 'long'")), Some(Limit::Other("5".into())));
        assert_eq!(
            said("received none but current is the value '7' of type 'long'"),
            Some(Limit::Other("7".into()))
        );
        assert_eq!(said_limit("PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'a'"), None);
    }

    #[test]
    fn versions_count_different_things() {
        let version = |text: &str| Version(Some(text.into()));
        let (small, none) = (Limit::Other("5".into()), Limit::Other("-1".into()));
        for (server, limit, drops, looked_at) in [
            ("3.10.8", Limit::Missing, false, false),
            ("3.10.8", small.clone(), true, true),
            ("4.0.5", Limit::Missing, true, true),
            ("4.0.5", Limit::Ours, false, false),
            ("4.0.5", Limit::Other("5000".into()), false, false),
            ("4.3.6", Limit::Missing, true, false),
            ("4.3.6", small.clone(), true, false),
            ("3.10.8", none.clone(), true, true),
            ("4.0.5", none.clone(), false, false),
        ] {
            let server = version(server);
            assert_eq!(server.drops(&limit).is_some(), drops, "{server} {limit:?}");
            assert_eq!(server.drops_what_is_looked_at(&limit).is_some(), looked_at, "{server} {limit:?}");
        }
        assert!(Version(None).drops_what_is_looked_at(&Limit::Missing).is_some());
        for (server, may) in [("3.10.8", false), ("4.0.5", true), ("4.2.1", true), ("4.3.0", false)] {
            assert_eq!(version(server).may_drop_what_is_looked_at(), may, "{server}");
        }
        assert!(Version(None).may_drop_what_is_looked_at());
    }
}
