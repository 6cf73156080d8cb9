//! Looks at the queues and exchanges of consumers, and says what is wrong with them. Changes nothing.

use std::time::Duration;

use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::broker::{Broker, short};
use super::connection::{ConnectError, Connected, OwnedConnection, close, code, connect, text};
use super::establish::{Limit, has_exchange, limit_of, look_for, missing_exchange};
use super::rights::grant;
use super::topology::{Queues, limit_policy};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one may take that is only nice to know.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);
const PURPOSE: &str = "examining";
/// A limit below this is reached by people who look, and by processes that die over other messages.
const FEW: i64 = 1000;

/// What somebody needs there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The queues of consumers.
    pub(crate) queues: Vec<String>,
    pub(crate) exchanges: Vec<String>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noticed {
    pub(crate) what: String,
    pub(crate) evidence: String,
    pub(crate) remedy: String,
}

impl Noticed {
    fn new(what: impl Into<String>, evidence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), evidence: evidence.into(), remedy: remedy.into() }
    }
}

/// Looks at everything that is wanted.
pub(super) async fn inspect(broker: &Broker, wanted: &Wanted) -> Vec<Noticed> {
    let Connected { connection, events: _events, .. } = match connect(broker, PURPOSE).await {
        Ok(connected) => connected,
        Err(trouble) => return vec![unreachable(broker, &trouble)],
    };
    let version = version(&broker.nodes).await;
    let look = Look { broker, connection: &connection, version };
    let mut noticed = Vec::new();
    for exchange in &wanted.exchanges {
        noticed.extend(look.exchange(exchange).await);
    }
    for queue in &wanted.queues {
        match Queues::named(queue) {
            Ok(queues) => look.queues(&queues, &mut noticed).await,
            Err(error) => {
                noticed.push(Noticed::new(
                    "a consumer's queue can't be looked at",
                    error.to_string(),
                    "name it otherwise",
                ));
            }
        }
    }
    close(connection).await;
    noticed
}

fn unreachable(broker: &Broker, trouble: &ConnectError) -> Noticed {
    let remedy = if trouble.permanent {
        "correct the URL, or the user's password and permissions at the broker"
    } else {
        "start the broker, or mend the way to it; meanwhile messages wait in the store, and none is lost"
    };
    Noticed::new(format!("RabbitMQ at {broker} can't be used"), &trouble.why, remedy)
}

struct Look<'a> {
    broker: &'a Broker,
    connection: &'a OwnedConnection,
    /// None: it could not be seen.
    version: Option<String>,
}

impl Look<'_> {
    async fn exchange(&self, name: &str) -> Option<Noticed> {
        // The default exchange is always there.
        let wanted = short("name of an exchange", name).ok().filter(|_| !name.is_empty())?;
        match timeout(PATIENCE, has_exchange(self.connection, &wanted)).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some(Noticed::new(
                format!("the exchange `{name}` does not exist"),
                "a process has announced that it uses it",
                missing_exchange(name),
            )),
            Ok(Err(error)) => Some(self.unseen("exchange", name, &error)),
            Err(_) => Some(silent("exchange", name)),
        }
    }

    async fn queues(&self, queues: &Queues, noticed: &mut Vec<Noticed>) {
        for wanted in queues.declarations() {
            let name = wanted.name.as_str();
            let waiting = match timeout(PATIENCE, look_for(self.connection, &wanted.name)).await {
                Ok(Ok(waiting)) => waiting,
                Ok(Err(error)) => {
                    noticed.push(self.unseen("queue", name, &error));
                    continue;
                }
                Err(_) => {
                    noticed.push(silent("queue", name));
                    continue;
                }
            };
            if wanted.name == queues.dead && waiting > 0 {
                noticed.push(dead_letters(queues, waiting));
            }
            // A declaration of what is there changes nothing.
            match timeout(PATIENCE, limit_of(self.connection, &wanted)).await {
                Ok(Ok(limit)) => noticed.extend(self.limit(&wanted.name, &limit)),
                Ok(Err(error)) => noticed.push(self.unseen("queue", name, &error)),
                Err(_) => noticed.push(silent("queue", name)),
            }
        }
    }

    fn limit(&self, queue: &ShortString, limit: &Limit) -> Option<Noticed> {
        let version = self.version.as_deref();
        let major: Option<u32> = version.and_then(|version| version.split('.').next()?.parse().ok());
        let server = version
            .map_or("RabbitMQ of an unknown version".to_owned(), |version| format!("RabbitMQ {version}"));
        let evidence = match limit {
            Limit::Ours => return None,
            Limit::Other(number) if number.parse::<i64>().is_ok_and(|number| number >= FEW) => return None,
            Limit::Other(number) => {
                format!("{server}; the queue was declared with the delivery limit {number}")
            }
            // Before version 4, a queue without a limit drops nothing.
            Limit::Missing if major.is_some_and(|major| major < 4) => return None,
            Limit::Missing => {
                format!("{server}, where a queue without a delivery limit has one of 20 since version 4")
            }
            Limit::Unknown if major.is_none_or(|major| major < 4) => return None,
            Limit::Unknown => {
                return Some(Noticed::new(
                    format!("the delivery limit of the queue `{queue}` can't be seen"),
                    format!("{server}; the user may not declare it, or it is another kind of queue"),
                    "see `rabbitmqctl list_queues name type arguments policy`: a small limit loses messages that were only looked at",
                ));
            }
        };
        Some(Noticed::new(
            format!(
                "the queue `{queue}` has a small delivery limit: what is looked at, or in hand when processes die, that often is dropped"
            ),
            format!("{evidence}. Policies don't show here: if one sets another limit, all is well"),
            limit_policy(self.broker.vhost(), queue.as_str()),
        ))
    }

    fn unseen(&self, kind: &str, name: &str, error: &lapin::Error) -> Noticed {
        let said = text(error);
        match code(error) {
            Some(404) => Noticed::new(
                format!("the {kind} `{name}` does not exist"),
                format!("a process has announced that it consumes it; {said}"),
                "start its consumer, which declares it; with `RabbitMq::passive`, whoever has the right creates it (the consumer's log says how)",
            ),
            Some(403) => Noticed::new(
                format!("the {kind} `{name}` can't be looked at"),
                said,
                grant(self.broker, "read", &format!("the {kind} `{name}`")),
            ),
            _ => Noticed::new(
                format!("the {kind} `{name}` can't be looked at"),
                said,
                "see the broker's log; a quorum queue needs a majority of its nodes",
            ),
        }
    }
}

fn dead_letters(queues: &Queues, waiting: u32) -> Noticed {
    let main = &queues.main;
    Noticed::new(
        format!("dead letters of the queue `{main}` wait for a person"),
        format!("{waiting} in `{}`", queues.dead),
        format!("`tm dead list {main}` says why; remove the cause, then `tm dead redrive {main}`"),
    )
}

fn silent(kind: &str, name: &str) -> Noticed {
    Noticed::new(
        format!("the {kind} `{name}` can't be looked at"),
        format!("no answer within {PATIENCE:?}"),
        "see the broker's log; a quorum queue needs a majority of its nodes",
    )
}

/// The server's version, as it says when somebody connects. lapin keeps that for itself, so the first frame is read from a
/// connection of our own, which is given up then. Not with TLS.
async fn version(nodes: &[AMQPUri]) -> Option<String> {
    for node in nodes.iter().filter(|node| node.scheme == AMQPScheme::AMQP) {
        let place = (node.authority.host.as_str(), node.authority.port);
        if let Ok(Some(version)) = timeout(SHORT_PATIENCE, greeting(place)).await {
            return Some(version);
        }
    }
    None
}

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
}
