//! Looks at the queues and exchanges of consumers, and says what is wrong with them. Changes nothing.

use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::timeout;

use super::broker::{Broker, short};
use super::connection::{ConnectError, Connected, OwnedConnection, close, code, connect, text};
use super::delivery_limit::Version;
use super::establish::{Limit, has_exchange, limit_of, look_for, missing_exchange};
use super::rights::grant;
use super::topology::{Queues, limit_policy};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PURPOSE: &str = "examining";

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
    let version = Version::of(&broker.nodes).await;
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
    version: Version,
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
        let version = &self.version;
        if *limit == Limit::Unknown && version.may_drop() {
            return Some(Noticed::new(
                format!("the delivery limit of the queue `{queue}` can't be seen"),
                format!("{version}; the user may not declare it, or it is another kind of queue"),
                "see `rabbitmqctl list_queues name type arguments policy`: a small limit drops messages that were only looked at",
            ));
        }
        let evidence = version.drops(limit)?;
        Some(Noticed::new(
            format!(
                "the queue `{queue}` has a small delivery limit: what is given back, or in hand when processes die, so often is dropped"
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
