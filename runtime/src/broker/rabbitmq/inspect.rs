//! Looks at the queues and exchanges of consumers, and says what is wrong with them. Changes nothing.

use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::timeout;

use super::broker::{Broker, short};
use super::connection::{ConnectError, Connected, OwnedConnection, close, code, connect, text};
use super::delivery_limit::{Limit, Version};
use super::establish::{has_exchange, limit_of, look_for, missing_exchange};
use super::remedy::{against_limit, quoted};
use super::rights::grant;
use super::topology::Queues;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long all of it may take.
const ALL_WITHIN: Duration = Duration::from_secs(20);
const PURPOSE: &str = "examining";

const SILENT: &str = "see the broker's log; a quorum queue needs a majority of its nodes";

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

/// Looks at everything that is wanted, but not for ever.
pub(super) async fn inspect(broker: &Broker, wanted: &Wanted) -> Vec<Noticed> {
    let mut noticed = Vec::new();
    if timeout(ALL_WITHIN, look_at_all(broker, wanted, &mut noticed)).await.is_err() {
        noticed.push(Noticed::new(
            format!("not everything at RabbitMQ ({broker}) could be looked at"),
            format!("it took longer than {ALL_WITHIN:?}"),
            SILENT,
        ));
    }
    noticed
}

async fn look_at_all(broker: &Broker, wanted: &Wanted, noticed: &mut Vec<Noticed>) {
    let Connected { connection, events: _events, .. } = match connect(broker, PURPOSE).await {
        Ok(connected) => connected,
        Err(trouble) => return noticed.push(unreachable(broker, &trouble)),
    };
    let version = Version::of(&broker.nodes).await;
    let look = Look { broker, connection: &connection, version };
    if let Err(silent) = look.all(wanted, noticed).await {
        noticed.push(silent);
    }
    close(connection).await;
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
    /// Ends at the first question without an answer: the others would have none, either.
    async fn all(&self, wanted: &Wanted, noticed: &mut Vec<Noticed>) -> Result<(), Noticed> {
        for exchange in &wanted.exchanges {
            noticed.extend(self.exchange(exchange).await?);
        }
        for queue in &wanted.queues {
            match Queues::named(queue) {
                Ok(queues) => self.queues(&queues, noticed).await?,
                Err(error) => {
                    noticed.push(Noticed::new(
                        "a consumer's queue can't be looked at",
                        error.to_string(),
                        "name it otherwise",
                    ));
                }
            }
        }
        Ok(())
    }

    async fn exchange(&self, name: &str) -> Result<Option<Noticed>, Noticed> {
        // The default exchange is always there.
        let Some(wanted) = short("name of an exchange", name).ok().filter(|_| !name.is_empty()) else {
            return Ok(None);
        };
        Ok(
            match timeout(PATIENCE, has_exchange(self.connection, &wanted))
                .await
                .map_err(|_| silent("exchange", name))?
            {
                Ok(true) => None,
                Ok(false) => Some(Noticed::new(
                    format!("the exchange `{name}` does not exist"),
                    "a process has announced that it uses it",
                    missing_exchange(name),
                )),
                Err(error) => Some(self.unseen("exchange", name, &error)),
            },
        )
    }

    async fn queues(&self, queues: &Queues, noticed: &mut Vec<Noticed>) -> Result<(), Noticed> {
        for wanted in queues.declarations() {
            let name = wanted.name.as_str();
            let waiting = match timeout(PATIENCE, look_for(self.connection, &wanted.name))
                .await
                .map_err(|_| silent("queue", name))?
            {
                Ok(waiting) => waiting,
                Err(error) => {
                    noticed.push(self.unseen("queue", name, &error));
                    continue;
                }
            };
            if wanted.name == queues.dead && waiting > 0 {
                noticed.push(dead_letters(queues, waiting));
            }
            // A declaration of what is there changes nothing.
            match timeout(PATIENCE, limit_of(self.connection, &wanted))
                .await
                .map_err(|_| silent("queue", name))?
            {
                Ok(limit) => noticed.extend(self.limit(&wanted.name, &limit)),
                Err(error) => noticed.push(self.unseen("queue", name, &error)),
            }
        }
        Ok(())
    }

    fn limit(&self, queue: &ShortString, limit: &Limit) -> Option<Noticed> {
        let version = &self.version;
        if *limit == Limit::Unknown && version.may_drop() {
            return Some(Noticed::new(
                format!("the delivery limit of the queue `{queue}` can't be seen"),
                format!("{version}; the user may not declare it, or it is another kind of queue"),
                format!(
                    "see `rabbitmqctl list_queues -p {} name type arguments policy`: a small limit drops messages that were only \
                     looked at",
                    quoted(self.broker.vhost())
                ),
            ));
        }
        let evidence = version.drops(limit)?;
        let policies = if *limit == Limit::Missing {
            ". Policies don't show here: if one sets a large limit, all is well"
        } else {
            ""
        };
        Some(Noticed::new(
            format!(
                "the queue `{queue}` has a small delivery limit: what is given back, or in hand when processes die, so often is dropped"
            ),
            format!("{evidence}{policies}"),
            against_limit(self.broker.vhost(), queue.as_str(), limit),
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
            _ => Noticed::new(format!("the {kind} `{name}` can't be looked at"), said, SILENT),
        }
    }
}

fn dead_letters(queues: &Queues, waiting: u32) -> Noticed {
    let (main, name) = (&queues.main, quoted(queues.main.as_str()));
    Noticed::new(
        format!("dead letters of the queue `{main}` wait for a person"),
        format!("{waiting} in `{}`", queues.dead),
        format!(
            "`tm dead list {name}` says why; remove the cause, then `tm dead redrive {name} --reason TEXT`"
        ),
    )
}

fn silent(kind: &str, name: &str) -> Noticed {
    Noticed::new(
        format!("the {kind} `{name}` can't be looked at"),
        format!("no answer within {PATIENCE:?}; nothing more was asked"),
        SILENT,
    )
}
