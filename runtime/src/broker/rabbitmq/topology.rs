//! Exchanges, queues and bindings, as they are wanted. `establish` sees to it that they are there.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::broker::{short, wrong};
use super::news::News;
use crate::broker::topic::Pattern;
use crate::error::Error;
use crate::transport::Queue;

/// How often RabbitMQ may hand a message out in vain before it drops it, or puts it to the dead letters: as good as
/// never. Since 4.0 a queue without a limit has one of 20, and everybody who looks at a message counts. A limit of -1
/// would say it better, but RabbitMQ 3.10 drops at the first failure then.
pub(super) const DELIVERY_LIMIT: i64 = 1_000_000_000;

/// How an exchange chooses the queues of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangeKind {
    /// Queues whose binding is the routing key, with `*` for one word and `#` for any number.
    Topic,
    /// Queues whose binding is the routing key.
    Direct,
    /// All queues that are bound.
    Fanout,
    /// By headers; what `Consumer::bind` binds gets everything.
    Headers,
}

/// What the application declares.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) exchanges: Vec<(ShortString, ExchangeKind)>,
    pub(super) passive: bool,
    /// The virtual host, for commands that the log advises.
    pub(super) vhost: String,
    /// What the log was told; one for all connections.
    pub(super) news: News,
}

/// The queues of one consumer.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    pub(super) main: ShortString,
    pub(super) dead: ShortString,
    /// One for each pause, in the order of the attempts.
    pub(super) retry: Vec<(ShortString, Duration)>,
    pub(super) bindings: Vec<Binding>,
}

/// An exchange, and the pattern of the routing keys that come from it.
pub(super) type Binding = (ShortString, ShortString);

/// A queue to be declared.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) name: ShortString,
    pub(super) arguments: FieldTable,
    /// As versions before this one declared it: RabbitMQ refuses other arguments for a queue that exists.
    pub(super) earlier: FieldTable,
}

impl Topology {
    pub(super) fn new(
        exchanges: Vec<(String, ExchangeKind)>,
        passive: bool,
        vhost: &str,
    ) -> Result<Self, Error> {
        let mut checked = Vec::with_capacity(exchanges.len());
        for (name, kind) in exchanges {
            if name.is_empty() || (!passive && name.starts_with("amq.")) {
                return Err(wrong(format!(
                    "the exchange `{name}` can't be declared: RabbitMQ has it already"
                )));
            }
            checked.push((short("name of an exchange", &name)?, kind));
        }
        Ok(Self { exchanges: checked, passive, vhost: vhost.to_owned(), news: News::default() })
    }

    /// Whether one of the bindings brings messages that were sent like this.
    pub(super) fn is_bound(&self, queues: &Queues, exchange: &str, routing_key: &str) -> bool {
        let kind = self.exchanges.iter().find(|(name, _)| name.as_str() == exchange).map(|(_, kind)| *kind);
        let brings = |pattern: &str| match kind {
            _ if pattern == routing_key => true,
            Some(ExchangeKind::Fanout | ExchangeKind::Headers) => true,
            Some(ExchangeKind::Direct) => false,
            Some(ExchangeKind::Topic) => Pattern::new(pattern).matches(routing_key),
            // Nobody said of which kind it is; those that look at no key are bound without one.
            None => pattern.is_empty() || Pattern::new(pattern).matches(routing_key),
        };
        let bound = |(from, pattern): &Binding| from.as_str() == exchange && brings(pattern.as_str());
        exchange.is_empty() || queues.bindings.iter().any(bound)
    }
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
        let retry = queue.retry_delays.iter();
        Ok(Self {
            main: queue_name(name)?,
            dead: queue_name(&format!("{name}.dead"))?,
            retry: retry
                .map(|pause| Ok((queue_name(&format!("{name}.retry.{}", duration(*pause)))?, *pause)))
                .collect::<Result<_, Error>>()?,
            bindings,
        })
    }

    /// The main queue and the dead letters of a consumer of which only the name is known.
    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        let queue = |name: &str| short("name of a queue", name);
        let (main, dead) = (queue(name)?, queue(&format!("{name}.dead"))?);
        Ok(Self { main, dead, retry: Vec::new(), bindings: Vec::new() })
    }

    /// Where a message waits after its attempt number `attempt` failed.
    pub(super) fn after_attempt(&self, attempt: u32) -> &(ShortString, Duration) {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        &self.retry[index.min(self.retry.len() - 1)]
    }

    /// Where a message waits for this long at most, or else for the shortest pause that there is.
    pub(super) fn waiting_at_most(&self, time: Duration) -> &(ShortString, Duration) {
        let short = self.retry.iter().filter(|(_, pause)| *pause <= time).max_by_key(|(_, pause)| *pause);
        short.or_else(|| self.retry.iter().min_by_key(|(_, pause)| *pause)).unwrap_or(&self.retry[0])
    }

    /// The longest that a message can be asked to wait: each pause is a way through the broker.
    pub(super) fn longest_wait(&self) -> Duration {
        const MOST_PAUSES: u32 = 1000;
        self.retry.iter().map(|(_, pause)| *pause).max().unwrap_or_default() * MOST_PAUSES
    }

    /// The queue of the dead letters. What is full refuses, and drops nothing.
    pub(super) fn dead_letters(&self) -> Declaration {
        Declaration {
            name: self.dead.clone(),
            arguments: with_limit(with_overflow(quorum())),
            earlier: quorum(),
        }
    }

    /// Every queue with its arguments. What goes from one to another on the broker's own account is
    /// handed over with publisher confirms (`at-least-once`); a queue that is full refuses, and drops nothing.
    pub(super) fn declarations(&self) -> Vec<Declaration> {
        let earlier = dead_lettering(&self.dead);
        let main = Declaration { name: self.main.clone(), arguments: with_limit(earlier.clone()), earlier };
        let retry = self.retry.iter().map(|(name, pause)| {
            let mut arguments = dead_lettering(&self.main);
            let millis = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
            Declaration { name: name.clone(), earlier: arguments.clone(), arguments }
        });
        [self.dead_letters(), main].into_iter().chain(retry).collect()
    }
}

fn quorum() -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), long("quorum"));
    table
}

fn with_overflow(mut table: FieldTable) -> FieldTable {
    table.insert("x-overflow".into(), long("reject-publish"));
    table
}

fn with_limit(mut table: FieldTable) -> FieldTable {
    table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    table
}

fn dead_lettering(queue: &ShortString) -> FieldTable {
    let mut table = with_overflow(quorum());
    table.insert("x-dead-letter-exchange".into(), long(""));
    table.insert("x-dead-letter-routing-key".into(), long(queue.as_str()));
    table.insert("x-dead-letter-strategy".into(), long("at-least-once"));
    table
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// `, x-queue-type=quorum, …`, for an operator who creates the queue.
pub(super) fn describe(arguments: &FieldTable) -> String {
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use tokio::sync::watch;

    use super::*;

    fn queue(name: &str, bindings: &[(&str, &str)]) -> Queue {
        Queue {
            name: name.into(),
            bindings: bindings.iter().map(|(e, p)| ((*e).into(), (*p).into())).collect(),
            concurrency: watch::channel(1).1,
            batch: 1,
            paused: watch::channel(None).1,
            retry_delays: [250, 1_000, 120_000].map(Duration::from_millis).to_vec(),
            undecodable_after: Duration::from_secs(9),
            identify: None,
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

    #[test]
    fn what_waits_for_a_reader_waits_longer_the_longer_it_has() {
        let queues = Queues::new(&queue("books", &[("shop", "#")])).expect("valid");
        for (waited, expected) in [
            (0, "books.retry.250ms"),
            (999, "books.retry.250ms"),
            (1_000, "books.retry.1s"),
            (119_999, "books.retry.1s"),
            (u64::MAX, "books.retry.120s"),
        ] {
            assert_eq!(queues.waiting_at_most(Duration::from_millis(waited)).0.as_str(), expected);
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
                for Declaration { name: declared, .. } in queues.declarations() {
                    prop_assert!(declared.as_str().starts_with(&name) && declared.as_str().len() <= 255);
                }
            } else {
                let fits = bindings.iter().all(|(e, p)| !e.is_empty() && !e.starts_with("amq.") && e.len().max(p.len()) <= 255);
                prop_assert!(name.starts_with("amq.") || name.len() > 200 || !fits, "{name} {bindings:?}");
            }
        }
    }

    #[test]
    fn what_no_binding_brings_is_noticed() {
        let kinds = [
            ("topic", ExchangeKind::Topic),
            ("direct", ExchangeKind::Direct),
            ("fanout", ExchangeKind::Fanout),
        ];
        let exchanges = kinds.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
        let topology = Topology::new(exchanges, false, "/").expect("valid");
        let bindings = [("topic", "a.*"), ("direct", "a.*"), ("fanout", "x"), ("theirs", "a.b"), ("all", "")];
        let queues = Queues::new(&queue("books", &bindings)).expect("valid");
        for (exchange, key, expected) in [
            ("topic", "a.b", true),
            ("topic", "b", false),
            ("direct", "a.b", false),
            ("direct", "a.*", true),
            ("fanout", "y", true),
            ("theirs", "a.b", true),
            ("theirs", "a.c", false),
            ("all", "y", true),
            ("other", "a.b", false),
            ("", "books", true),
        ] {
            assert_eq!(topology.is_bound(&queues, exchange, key), expected, "{exchange} {key}");
        }
    }

    #[test]
    fn names_that_rabbitmq_would_refuse_are_refused_at_once() {
        let text = |queue| Queues::new(&queue).expect_err("accepted").to_string();
        assert!(text(queue("amq.books", &[])).contains("RabbitMQ's own"));
        assert!(text(queue(&"b".repeat(250), &[])).contains("at most 255"));
        assert!(text(queue("books", &[("", "shelf")])).contains("routing key `books` only"));
        assert!(Queues::new(&queue("books", &[("", "books")])).is_ok());
        let exchange =
            |name: &str| Topology::new(vec![(name.into(), ExchangeKind::Topic)], false, "/").is_err();
        assert!(exchange("") && exchange("amq.topic") && exchange(&"e".repeat(256)));
    }
}
