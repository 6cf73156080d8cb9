//! Exchanges and queues: declared, or only checked to be there; and what to do when they are not.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection};

use super::ExchangeKind;
use super::broker::{short, wrong};
use super::connection::{Trouble, code, text};
use crate::error::Error;
use crate::transport::Queue;

/// What the application declares.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    exchanges: Vec<(ShortString, ExchangeKind)>,
    passive: bool,
}

/// The queues of one consumer.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    pub(super) main: ShortString,
    pub(super) dead: ShortString,
    /// One for each pause, in the order of the attempts.
    pub(super) retry: Vec<(ShortString, Duration)>,
    bindings: Vec<(ShortString, ShortString)>,
}

impl Topology {
    pub(super) fn new(exchanges: Vec<(String, ExchangeKind)>, passive: bool) -> Result<Self, Error> {
        let mut checked = Vec::with_capacity(exchanges.len());
        for (name, kind) in exchanges {
            if name.is_empty() || (!passive && name.starts_with("amq.")) {
                return Err(wrong(format!(
                    "the exchange `{name}` can't be declared: RabbitMQ has it already"
                )));
            }
            checked.push((short("name of an exchange", &name)?, kind));
        }
        Ok(Self { exchanges: checked, passive })
    }

    /// Sees to the exchanges. Says which are not as they should be: that concerns their messages,
    /// and no others.
    pub(super) async fn establish(&self, connection: &Connection) -> Result<Vec<Trouble>, Trouble> {
        let mut wrong = Vec::new();
        for (name, kind) in &self.exchanges {
            let options = ExchangeDeclareOptions {
                passive: self.passive,
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            // One for each: a refusal ends the channel.
            let channel = connection.create_channel().await?;
            let (kind, arguments) = (lapin_kind(*kind), FieldTable::default());
            match channel.exchange_declare(name.clone(), kind, options, arguments).await {
                Ok(()) => {}
                Err(error) if error.is_amqp_soft_error() => {
                    wrong.push(explain("exchange", name.as_str(), "", &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(wrong)
    }

    /// Sees to a consumer's queues and their bindings.
    pub(super) async fn establish_queues(&self, channel: &Channel, queues: &Queues) -> Result<(), Trouble> {
        for (name, arguments) in queues.declarations() {
            let options = QueueDeclareOptions {
                passive: self.passive,
                durable: true,
                ..QueueDeclareOptions::default()
            };
            let like = describe(&arguments);
            let declared = channel.queue_declare(name.clone(), options, arguments).await;
            declared.map_err(|error| explain("queue", name.as_str(), &like, &error))?;
        }
        if self.passive {
            return Ok(());
        }
        for (exchange, pattern) in &queues.bindings {
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            let bound = channel
                .queue_bind(queues.main.clone(), exchange.clone(), pattern.clone(), options, arguments)
                .await;
            bound.map_err(|error| explain("exchange", exchange.as_str(), "", &error))?;
        }
        Ok(())
    }
}

/// What to do about something that could not be declared, found, or bound.
fn explain(what: &str, name: &str, like: &str, error: &lapin::Error) -> Trouble {
    let said = text(error);
    match code(error) {
        Some(404) if what == "exchange" => Trouble::lasting(missing_exchange(name)),
        Some(404) => Trouble::lasting(format!(
            "the {what} `{name}` does not exist: create it (durable{like}), or leave out `RabbitMq::passive`"
        )),
        Some(406) => Trouble::lasting(format!(
            "the {what} `{name}` exists, but not as it is needed (durable{like}); {said}. \
             Use another name, delete it when it is empty, or take it as it is with `RabbitMq::passive`"
        )),
        Some(403) => Trouble::lasting(format!(
            "{said}. Give the user the right, or have somebody else create the {what} `{name}` (durable{like}) \
             and its bindings, and use `RabbitMq::passive`"
        )),
        _ => Trouble::passing(said),
    }
}

/// What to say about an exchange that is not there.
pub(super) fn missing_exchange(name: &str) -> String {
    format!(
        "the exchange `{name}` does not exist: declare it with `RabbitMq::exchange(\"{name}\", ExchangeKind::Topic)`, \
         or have whoever owns it create it"
    )
}

impl Queues {
    pub(super) fn new(queue: &Queue) -> Result<Self, Error> {
        let name = &queue.name;
        if name.starts_with("amq.") {
            return Err(wrong(format!(
                "the consumer's queue `{name}` must have another name: those that begin with `amq.` are RabbitMQ's own"
            )));
        }
        let mut bindings = Vec::with_capacity(queue.bindings.len());
        for (exchange, pattern) in &queue.bindings {
            match exchange.as_str() {
                // The default exchange brings each queue the messages with its name.
                "" if pattern == name => {}
                "" => {
                    return Err(wrong(format!(
                        "the consumer of `{name}` can't be bound to the default exchange with `{pattern}`: \
                         RabbitMQ's default exchange brings it messages with the routing key `{name}` only"
                    )));
                }
                _ => bindings.push((short("name of an exchange", exchange)?, short("binding", pattern)?)),
            }
        }
        let queue_name = |name: &str| short("name of a queue", name);
        let retry = queue.retry_after.iter();
        Ok(Self {
            main: queue_name(name)?,
            dead: queue_name(&format!("{name}.dead"))?,
            retry: retry
                .map(|pause| Ok((queue_name(&format!("{name}.retry.{}", duration(*pause)))?, *pause)))
                .collect::<Result<_, Error>>()?,
            bindings,
        })
    }

    /// Where a message waits after its attempt number `attempt` failed.
    pub(super) fn after_attempt(&self, attempt: u32) -> &(ShortString, Duration) {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        &self.retry[index.min(self.retry.len() - 1)]
    }

    /// Every queue with its arguments. What goes from one to another on the broker's own account is
    /// handed over with publisher confirms (`at-least-once`), and no queue drops what it has.
    fn declarations(&self) -> Vec<(ShortString, FieldTable)> {
        let mut all = vec![
            (self.dead.clone(), arguments(None, None)),
            (self.main.clone(), arguments(Some(&self.dead), None)),
        ];
        for (name, pause) in &self.retry {
            all.push((name.clone(), arguments(Some(&self.main), Some(*pause))));
        }
        all
    }
}

fn arguments(dead_letters_to: Option<&ShortString>, ttl: Option<Duration>) -> FieldTable {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), text("quorum"));
    if let Some(queue) = dead_letters_to {
        table.insert("x-dead-letter-exchange".into(), text(""));
        table.insert("x-dead-letter-routing-key".into(), text(queue.as_str()));
        table.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        table.insert("x-overflow".into(), text("reject-publish"));
    }
    if let Some(ttl) = ttl {
        let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        table.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    }
    table
}

/// `, x-queue-type=quorum, …`, for a person who creates the queue.
fn describe(arguments: &FieldTable) -> String {
    let one = |(name, value): (&ShortString, &AMQPValue)| match value {
        AMQPValue::LongLongInt(number) => format!(", {name}={number}"),
        AMQPValue::LongString(text) if text.is_empty() => format!(", {name} empty"),
        AMQPValue::LongString(text) => format!(", {name}={text}"),
        other => format!(", {name}={other:?}"),
    };
    arguments.into_iter().map(one).collect::<Vec<_>>().concat()
}

/// Short enough for a name, and the same for the same pause.
fn duration(pause: Duration) -> String {
    let millis = pause.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

fn lapin_kind(kind: ExchangeKind) -> lapin::ExchangeKind {
    match kind {
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Headers => lapin::ExchangeKind::Headers,
    }
}

/// Whether an exchange is there. The channel is of no more use if it is not.
pub(super) async fn has_exchange(channel: &Channel, name: &ShortString) -> Result<bool, lapin::Error> {
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let declared = channel
        .exchange_declare(name.clone(), lapin::ExchangeKind::Topic, options, FieldTable::default())
        .await;
    match declared {
        Ok(()) => Ok(true),
        Err(error) if code(&error) == Some(404) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn queue(name: &str, bindings: &[(&str, &str)]) -> Queue {
        Queue {
            name: name.into(),
            bindings: bindings.iter().map(|(e, p)| ((*e).into(), (*p).into())).collect(),
            concurrency: 1,
            retry_after: [250, 1_000, 120_000].map(Duration::from_millis).to_vec(),
        }
    }

    #[test]
    fn a_message_waits_longer_after_every_attempt() {
        let queues = Queues::new(&queue("books", &[("shop", "#")])).expect("valid");
        for (attempt, expected) in [
            (0, "books.retry.250ms"),
            (1, "books.retry.250ms"),
            (2, "books.retry.1s"),
            (3, "books.retry.120s"),
            (4, "books.retry.120s"),
            (u32::MAX, "books.retry.120s"),
        ] {
            assert_eq!(queues.after_attempt(attempt).0.as_str(), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a consumer is named and bound to: it is refused, or all its queues have names that AMQP
        /// carries.
        #[test]
        fn any_name_is_refused_or_fits(
            name in prop_oneof!["\\PC{0,20}", "\\PC{70,260}", "amq\\.[a-z]{0,3}", (200..260_usize).prop_map(|n| "q".repeat(n))],
            bindings in vec(("\\PC{0,130}", "\\PC{0,130}"), 1..3),
        ) {
            let bindings: Vec<_> = bindings.iter().map(|(e, p)| (e.as_str(), p.as_str())).collect();
            if let Ok(queues) = Queues::new(&queue(&name, &bindings)) {
                prop_assert!(!name.starts_with("amq."));
                for (declared, _) in queues.declarations() {
                    prop_assert!(declared.as_str().starts_with(&name) && declared.as_str().len() <= 255);
                }
            } else {
                let fits = bindings.iter().all(|(e, p)| !e.is_empty() && !e.starts_with("amq.") && e.len().max(p.len()) <= 255);
                prop_assert!(name.starts_with("amq.") || name.len() > 200 || !fits, "{name} {bindings:?}");
            }
        }
    }

    #[test]
    fn names_that_rabbitmq_would_refuse_are_refused_at_once() {
        let text = |queue| Queues::new(&queue).expect_err("accepted").to_string();
        assert!(text(queue("amq.books", &[])).contains("RabbitMQ's own"));
        assert!(text(queue(&"b".repeat(250), &[])).contains("at most 255"));
        assert!(text(queue("books", &[("", "shelf")])).contains("routing key `books` only"));
        assert!(Queues::new(&queue("books", &[("", "books")])).is_ok());
        let exchange = |name: &str| Topology::new(vec![(name.into(), ExchangeKind::Topic)], false).is_err();
        assert!(exchange("") && exchange("amq.topic") && exchange(&"e".repeat(256)));
    }
}
