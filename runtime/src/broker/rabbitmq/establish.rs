//! Sees to it that exchanges, queues and bindings are there: declares them, or only looks; and says what to do when they
//! are not as they are needed.
//!
//! A queue that exists keeps its arguments, and RabbitMQ refuses a declaration with others. So a queue is looked for
//! first, declared if it is missing, and taken as it is if it lacks only what newer versions of this crate added: two
//! versions at one queue must not fight.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};

use super::connection::{ConnectError, code, text};
use super::delivery_limit::{Limit, said_limit};
use super::remedy::against_limit;
use super::topology::{Binding, Declaration, ExchangeKind, Queues, Topology, describe};

/// Channels of a connection, one after the other: each refusal ends one.
struct Channels<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl Channels<'_> {
    const fn of(connection: &Connection) -> Channels<'_> {
        Channels { connection, channel: None }
    }

    async fn open(&mut self) -> Result<Channel, lapin::Error> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => self.connection.create_channel().await?,
        };
        Ok(self.channel.insert(channel).clone())
    }

    /// Keeps the channel for the next one, unless this one ended it.
    fn used<T>(&mut self, result: Result<T, lapin::Error>) -> Result<T, lapin::Error> {
        if result.is_err() {
            self.channel = None;
        }
        result
    }

    async fn look_for(&mut self, queue: &ShortString) -> Result<u32, lapin::Error> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.open().await?.queue_declare(queue.clone(), options, FieldTable::default()).await;
        self.used(declared).map(|queue| queue.message_count())
    }

    async fn declare(&mut self, queue: &ShortString, arguments: &FieldTable) -> Result<(), lapin::Error> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.open().await?.queue_declare(queue.clone(), options, arguments.clone()).await;
        self.used(declared).map(drop)
    }

    async fn bind(&mut self, queue: &ShortString, (exchange, pattern): &Binding) -> Result<(), lapin::Error> {
        let (exchange, pattern) = (exchange.clone(), pattern.clone());
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self.open().await?.queue_bind(queue.clone(), exchange, pattern, options, arguments).await;
        self.used(bound)
    }

    async fn exchange(
        &mut self,
        name: &ShortString,
        kind: ExchangeKind,
        passive: bool,
    ) -> Result<(), lapin::Error> {
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let (kind, arguments) = (lapin_kind(kind), FieldTable::default());
        let declared = self.open().await?.exchange_declare(name.clone(), kind, options, arguments).await;
        self.used(declared)
    }
}

impl Topology {
    /// Sees to the exchanges. Says which are not as they should be: that concerns their messages,
    /// and no others.
    pub(super) async fn establish(&self, connection: &Connection) -> Result<Vec<ConnectError>, ConnectError> {
        let mut channels = Channels::of(connection);
        let mut wrong = Vec::new();
        for (name, kind) in &self.exchanges {
            match channels.exchange(name, *kind, self.passive).await {
                Ok(()) => {}
                Err(error) if self.passive && code(&error) == Some(403) => {
                    self.taken_for_there("exchange", name, &error);
                }
                Err(error) if error.is_amqp_soft_error() => {
                    wrong.push(explain("exchange", name.as_str(), "", &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(wrong)
    }

    /// Sees to a consumer's queues.
    pub(super) async fn establish_queues(
        &self,
        connection: &Connection,
        queues: &Queues,
    ) -> Result<(), ConnectError> {
        let mut channels = Channels::of(connection);
        for wanted in queues.declarations() {
            self.queue(&mut channels, &wanted).await?;
        }
        Ok(())
    }

    async fn queue(&self, channels: &mut Channels<'_>, wanted: &Declaration) -> Result<(), ConnectError> {
        let name = &wanted.name;
        let looked = channels.look_for(name).await;
        match &looked {
            // One that was compared once is not compared at every connection: the broker logs each refusal.
            Ok(_) if self.passive || self.news.knows(&compared(name)) => return Ok(()),
            Ok(_) => {}
            Err(error) if self.passive && code(error) == Some(403) => {
                self.taken_for_there("queue", name, error);
                return Ok(());
            }
            // Whoever may not look may be allowed to declare.
            Err(error) if !self.passive && matches!(code(error), Some(403 | 404)) => {}
            Err(error) => return Err(explain_queue(wanted, error)),
        }
        let declared = match channels.declare(name, &wanted.arguments).await {
            Err(error) if code(&error) == Some(406) => self.take_as_it_is(channels, wanted, error).await,
            // It is there, and somebody else's to declare.
            Err(error) if code(&error) == Some(403) && looked.is_ok() => Ok(()),
            declared => declared.map_err(|error| explain_queue(wanted, &error)),
        };
        if declared.is_ok() {
            self.news.is_new(&compared(name), "");
        }
        declared
    }

    /// Takes a queue that lacks only what newer versions added, or has other numbers there, and says so.
    async fn take_as_it_is(
        &self,
        channels: &mut Channels<'_>,
        wanted: &Declaration,
        refused: lapin::Error,
    ) -> Result<(), ConnectError> {
        let last = if wanted.earlier == wanted.arguments {
            Err(refused)
        } else {
            channels.declare(&wanted.name, &wanted.earlier).await
        };
        let limit = match last {
            Ok(()) => Limit::Missing,
            // By hand, or by another version.
            Err(error) if code(&error) == Some(406) && text(&error).contains("'x-delivery-limit'") => {
                said_limit(&text(&error)).unwrap_or(Limit::Unknown)
            }
            Err(error) => return Err(explain_queue(wanted, &error)),
        };
        let queue = wanted.name.as_str();
        if limit.is_large() || !self.news.is_new(&format!("limit of {queue}"), "") {
            return Ok(());
        }
        let (declared, remedy) = (declared(&limit), against_limit(&self.vhost, queue, &limit));
        tracing::warn!(
            queue,
            remedy,
            "RabbitMQ: the queue was declared {declared}, and is taken as it is. RabbitMQ then takes a message away that was \
             handed out so often in vain, or looked at: a dead letter is lost"
        );
        Ok(())
    }

    /// Binds a consumer's queue. Says which bindings were refused: the others bring their messages.
    pub(super) async fn bind(
        &self,
        connection: &Connection,
        queue: &ShortString,
        bindings: &[Binding],
    ) -> Result<Vec<Binding>, ConnectError> {
        let mut channels = Channels::of(connection);
        let mut refused = Vec::new();
        for binding in bindings.iter().filter(|_| !self.passive) {
            let (exchange, pattern) = (binding.0.as_str(), binding.1.as_str());
            let about = format!("binding of {queue} to {exchange} {pattern}");
            match channels.bind(queue, binding).await {
                Ok(()) if self.news.is_over(&about) => {
                    tracing::info!(%queue, exchange, pattern, "RabbitMQ: the queue is bound now");
                }
                Ok(()) => {}
                Err(error) if error.is_amqp_soft_error() => {
                    let ConnectError { why, .. } = explain("exchange", exchange, "", &error);
                    if self.news.is_new(&about, &why) {
                        tracing::error!(%queue, exchange, pattern, why,
                            "RabbitMQ: a binding is refused, and its messages don't come; will try again");
                    }
                    refused.push(binding.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(refused)
    }

    /// RabbitMQ 4.3 lets a user look only at what it has a right on, which is not the right to publish or to consume.
    fn taken_for_there(&self, what: &str, name: &ShortString, error: &lapin::Error) {
        if self.news.is_new(&format!("{what} {name}"), "") {
            tracing::warn!(
                "RabbitMQ: it can't be seen whether the {what} `{name}` is there, and it is taken for there ({}). \
                 Since RabbitMQ 4.3 looking needs a right on it: `read` is enough",
                text(error)
            );
        }
    }
}

fn declared(limit: &Limit) -> String {
    match limit {
        Limit::Other(number) if number.starts_with('-') => {
            format!("with the delivery limit {number}, which is none since RabbitMQ 4, and before that the strictest")
        }
        Limit::Other(number) => format!("with the delivery limit {number}"),
        _ => "without this version's delivery limit, which RabbitMQ 4 takes for one of 20 unless a policy sees to it".into(),
    }
}

fn compared(queue: &ShortString) -> String {
    format!("arguments of {queue}")
}

fn explain_queue(wanted: &Declaration, error: &lapin::Error) -> ConnectError {
    explain("queue", wanted.name.as_str(), &describe(&wanted.arguments), error)
}

/// What to do about something that could not be declared, found, or bound.
fn explain(what: &str, name: &str, like: &str, error: &lapin::Error) -> ConnectError {
    let said = text(error);
    match code(error) {
        Some(404) if what == "exchange" => ConnectError::permanent(missing_exchange(name)),
        Some(404) => ConnectError::permanent(format!(
            "the {what} `{name}` does not exist: create it (durable{like}), or leave out `RabbitMq::passive`"
        )),
        Some(406) => ConnectError::permanent(format!(
            "the {what} `{name}` exists, but not as it is needed (durable{like}); {said}. \
             Use another name, delete it when it is empty, or take it as it is with `RabbitMq::passive`"
        )),
        Some(403) => ConnectError::permanent(format!(
            "{said}. Give the user the right, or have somebody else create the {what} `{name}` (durable{like}) \
             and its bindings, and use `RabbitMq::passive`"
        )),
        _ => ConnectError::passing(said),
    }
}

/// What to say about an exchange that is not there.
pub(super) fn missing_exchange(name: &str) -> String {
    format!(
        "the exchange `{name}` does not exist: declare it with `RabbitMq::exchange(\"{name}\", ExchangeKind::Topic)`, \
         or have whoever owns it create it"
    )
}

fn lapin_kind(kind: ExchangeKind) -> lapin::ExchangeKind {
    match kind {
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Headers => lapin::ExchangeKind::Headers,
    }
}

/// Whether an exchange is there, or may not be looked at: then publishing tells.
pub(super) async fn has_exchange(connection: &Connection, name: &ShortString) -> Result<bool, lapin::Error> {
    match Channels::of(connection).exchange(name, ExchangeKind::Topic, true).await {
        Ok(()) => Ok(true),
        Err(error) => match code(&error) {
            Some(403) => Ok(true),
            Some(404) => Ok(false),
            _ => Err(error),
        },
    }
}

/// How many messages wait in a queue.
pub(super) async fn look_for(connection: &Connection, queue: &ShortString) -> Result<u32, lapin::Error> {
    look_for_all(connection, &[queue]).await
}

/// How many messages wait in several.
pub(super) async fn look_for_all(
    connection: &Connection,
    queues: &[&ShortString],
) -> Result<u32, lapin::Error> {
    let mut channels = Channels::of(connection);
    let mut count = 0_u32;
    for queue in queues {
        count = count.saturating_add(channels.look_for(queue).await?);
    }
    Ok(count)
}

/// Finds out the delivery limit of a queue that is there: RabbitMQ compares what is declared with what it has, changes
/// nothing, and names the difference. A queue that somebody deletes just then is created anew, as its consumer would.
pub(super) async fn limit_of(connection: &Connection, wanted: &Declaration) -> Result<Limit, lapin::Error> {
    let mut channels = Channels::of(connection);
    for (arguments, same) in [(&wanted.arguments, Limit::Ours), (&wanted.earlier, Limit::Missing)] {
        match channels.declare(&wanted.name, arguments).await {
            Ok(()) => return Ok(same),
            Err(error) if code(&error) == Some(406) => {
                let said = text(&error);
                if let Some(limit) = said_limit(&said) {
                    return Ok(limit);
                }
                // Whatever else differs, differs the second time, too.
                if !said.contains("'x-overflow'") {
                    return Ok(Limit::Unknown);
                }
            }
            Err(error) if error.is_amqp_soft_error() => return Ok(Limit::Unknown),
            Err(error) => return Err(error),
        }
    }
    Ok(Limit::Unknown)
}
