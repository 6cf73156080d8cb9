//! A dead letter: what is known of a message that waits for an operator in `<queue>.dead`.

use std::time::{Duration, SystemTime};

use lapin::message::Delivery;

use super::incoming::{DELIVERY_COUNT, Incoming};
use super::properties::{ATTEMPT, AmqpMessage, REASON, Short};
use super::topology::Queues;
use crate::message::{Message, MessageId, begins};

/// A message that was taken out of the dead letters, and is not settled yet.
#[derive(Debug)]
pub(crate) struct Letter {
    tag: u64,
    incoming: Incoming,
}

impl Letter {
    pub(super) fn new(delivery: Delivery, queues: &Queues) -> Self {
        Self { tag: delivery.delivery_tag, incoming: Incoming::taken(delivery, &queues.main, &queues.dead) }
    }

    pub(super) const fn tag(&self) -> u64 {
        self.tag
    }

    /// The same message for its consumer, as on its first attempt.
    pub(super) fn again(&self, queue: &Short, room: usize) -> AmqpMessage {
        self.incoming.redriven_to(queue, room)
    }

    /// As the consumer's handler would get it.
    pub(crate) fn message(&self) -> Message {
        self.incoming.message()
    }

    /// What it is called, whatever its form.
    pub(crate) fn message_id(&self) -> Option<String> {
        self.incoming.properties.message_id().as_ref().map(ToString::to_string)
    }

    /// What it is called, if that is an id of ours.
    pub(crate) fn id(&self) -> Option<MessageId> {
        self.incoming.id.as_ref().ok().copied()
    }

    /// Why it is dead.
    pub(crate) fn reason(&self) -> String {
        match (self.incoming.note(REASON), &self.incoming.died_of) {
            (Some(reason), _) => reason,
            (None, Some(cause)) => format!("RabbitMQ put it here itself: {cause}"),
            (None, None) => "nobody noted why: neither a consumer nor RabbitMQ itself put it here".into(),
        }
    }

    /// How often its handler was tried; none if that is not noted.
    pub(crate) fn attempts(&self) -> Option<u64> {
        self.incoming.count(ATTEMPT)
    }

    /// How often an operator has sent it to its consumer before.
    pub(crate) fn redriven(&self) -> u64 {
        self.incoming.redriven.unwrap_or_default()
    }

    /// How often it was handed out and came back, as by those who look at it.
    pub(crate) fn handed_out(&self) -> u64 {
        self.incoming.count(DELIVERY_COUNT).unwrap_or_default()
    }

    /// When its time began: it was sent, or fell due. None if its id does not tell.
    pub(crate) fn begun_at(&self) -> Option<SystemTime> {
        let due =
            self.incoming.due.and_then(|due| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(due)));
        SystemTime::UNIX_EPOCH.checked_add(begins(self.id()?, due)?)
    }
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::{AMQPValue, FieldTable};

    use super::super::properties::{EXCHANGE, EXPIRES, REDRIVEN, ROUTING_KEY, UNDECODABLE_SINCE, WAIT};
    use super::*;

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn one_that_goes_back_begins_anew_and_remembers_where_it_came_from() {
        let id = MessageId::new();
        let mut headers = FieldTable::default();
        for (name, value) in [
            (EXCHANGE, text("shop")),
            (ROUTING_KEY, text("order.paid")),
            (REASON, text("no ink")),
            (ATTEMPT, AMQPValue::LongLongInt(3)),
            (WAIT, AMQPValue::LongLongInt(5)),
            (UNDECODABLE_SINCE, AMQPValue::LongLongInt(7)),
            (DELIVERY_COUNT, AMQPValue::LongLongInt(2)),
            // Long ago.
            (EXPIRES, AMQPValue::LongLongInt(9)),
            ("theirs", text("kept")),
        ] {
            headers.insert(name.into(), value);
        }
        let queues = Queues::named("books").expect("a name");
        let arrives = |from: &str, headers: FieldTable| {
            let mut delivery = Delivery::mock(1, "".into(), from.into(), false, b"{}".to_vec());
            let properties = BasicProperties::default().with_message_id(id.to_string().into());
            delivery.properties = properties.with_headers(headers);
            delivery
        };
        let letter = Letter::new(arrives("books.dead", headers), &queues);
        assert_eq!(
            (letter.reason().as_str(), letter.attempts(), letter.handed_out()),
            ("no ink", Some(3), 2)
        );
        assert_eq!((letter.id(), letter.redriven()), (Some(id), 0));
        let message = letter.message();
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("shop", "order.paid"));
        let age = letter.begun_at().and_then(|at| at.elapsed().ok());
        assert!(age.is_some_and(|age| age < Duration::from_mins(1)), "{age:?}");

        let again = letter.again(&queues.main, 96 * 1024);
        let headers = again.properties.headers().clone().expect("headers");
        assert_eq!(headers.inner().get(REDRIVEN), Some(&AMQPValue::LongLongInt(1)));
        for gone in [REASON, ATTEMPT, WAIT, UNDECODABLE_SINCE, DELIVERY_COUNT, EXPIRES] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        let incoming = Incoming::new(arrives("books", headers), &queues.main);
        assert_eq!((incoming.attempt, incoming.redriven, incoming.wait), (1, Some(1), None));
        assert_eq!((incoming.exchange.as_str(), incoming.routing_key.as_str()), ("shop", "order.paid"));
        assert_eq!(incoming.message().headers, [("theirs".to_owned(), "kept".to_owned())]);
        // It is tried again as often as any other.
        let second = incoming.rerouted(&queues.main, 96 * 1024, &[(ATTEMPT, AMQPValue::LongLongInt(2))]);
        let headers = second.properties.headers().clone().expect("headers");
        let second = Incoming::new(arrives("books", headers), &queues.main);
        assert!(second.attempt == 2 && !second.is_late());
        // Its consumer fails again, and it is known how often it was sent back.
        let buried = incoming.rerouted(&queues.dead, 96 * 1024, &[(REASON, text("still no ink"))]);
        let headers = buried.properties.headers().clone().expect("headers");
        assert_eq!(Letter::new(arrives("books.dead", headers), &queues).redriven(), 1);
    }

    #[test]
    fn one_that_nobody_signed_says_so() {
        let queues = Queues::named("books").expect("a name");
        let letter =
            Letter::new(Delivery::mock(1, "".into(), "books.dead".into(), false, Vec::new()), &queues);
        assert!(letter.reason().contains("nobody noted why"));
        assert_eq!(
            (letter.id(), letter.message_id(), letter.begun_at(), letter.attempts()),
            (None, None, None, None)
        );
    }
}
