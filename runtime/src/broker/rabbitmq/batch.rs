//! A batch: messages that are published one after the other and judged together.
//!
//! lapin hands a returned message to whichever publisher confirm is next, so no single one can be
//! believed. But every return comes before its own confirm: once the whole batch is confirmed, its
//! returns are all here, and each says by its `message_id` whose it is. This holds only for a
//! channel on which nobody else publishes.

use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, PublisherConfirm};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use super::properties::AmqpMessage;
use crate::fault;

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReturnStatus {
    /// Confirmed, and not returned.
    Delivered,
    /// No queue takes it. What the broker said.
    Returned(String),
    /// A queue refused it.
    Refused,
}

/// What a publisher confirm carried. The returned message may be any of the batch's.
#[derive(Clone, Debug)]
struct Reply {
    acked: bool,
    returned: Option<Returned>,
}

#[derive(Clone, Debug)]
struct Returned {
    message_id: Option<String>,
    said: String,
}

/// Publishes all, and waits for all. `Err`: the channel is of no more use, and nothing is known of
/// any of them.
pub(super) async fn publish(
    channel: &Channel,
    messages: &[&AmqpMessage],
) -> Result<Vec<ReturnStatus>, lapin::Error> {
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        confirms.push(quietly(send(channel, message)).await?);
    }
    let mut replies = Vec::with_capacity(messages.len());
    for confirm in confirms {
        replies.push(Reply::from(fault::pending("published", confirm).await?));
    }
    let ids: Vec<_> = messages.iter().map(|message| id(message)).collect();
    Ok(judge(&ids, &replies))
}

async fn send(channel: &Channel, message: &AmqpMessage) -> Result<PublisherConfirm, lapin::Error> {
    let AmqpMessage { exchange, routing_key, properties, body } = message;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel
        .basic_publish(exchange.clone(), routing_key.clone(), options, body.bytes(), properties.clone())
        .await
}

/// Keeps what lapin says meanwhile out of the log: at TRACE it may show whole frames.
async fn quietly<F: Future>(future: F) -> F::Output {
    if tracing::dispatcher::has_been_set() {
        future.with_subscriber(Dispatch::none()).await
    } else {
        future.await
    }
}

fn id(message: &AmqpMessage) -> Option<&str> {
    message.properties.message_id().as_ref().map(lapin::types::ShortString::as_str)
}

impl From<Confirmation> for Reply {
    fn from(confirmation: Confirmation) -> Self {
        let acked = confirmation.is_ack();
        let returned = confirmation.take_message().map(|message| Returned::from(&message));
        Self { acked, returned }
    }
}

impl From<&BasicReturnMessage> for Returned {
    fn from(message: &BasicReturnMessage) -> Self {
        Self {
            message_id: message.properties.message_id().as_ref().map(ToString::to_string),
            said: message.reply_text.to_string(),
        }
    }
}

/// Judges a batch whose every message was answered. A message without an id is only delivered when
/// no such message came back.
fn judge(ids: &[Option<&str>], replies: &[Reply]) -> Vec<ReturnStatus> {
    let returned = |id: Option<&str>| {
        let mut returned = replies.iter().filter_map(|reply| reply.returned.as_ref());
        returned.find(|returned| returned.message_id.as_deref() == id)
    };
    let mut statuses = Vec::with_capacity(ids.len());
    for (id, reply) in ids.iter().zip(replies) {
        let returned = if fault::bug("returns-ignored") {
            None
        } else if fault::bug("returns-believed") {
            reply.returned.as_ref()
        } else {
            returned(*id)
        };
        statuses.push(match returned {
            Some(returned) => ReturnStatus::Returned(returned.said.clone()),
            None if reply.acked => ReturnStatus::Delivered,
            None => ReturnStatus::Refused,
        });
    }
    statuses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(acked: bool, returned: Option<&str>) -> Reply {
        let returned = returned.map(|id| Returned { message_id: Some(id.into()), said: "NO_ROUTE".into() });
        Reply { acked, returned }
    }

    fn returned() -> ReturnStatus {
        ReturnStatus::Returned("NO_ROUTE".into())
    }

    #[test]
    fn a_return_belongs_to_the_message_whose_id_it_has() {
        // As lapin has been seen to do it: the second message came back, the first's confirm says so.
        let replies = [reply(true, Some("b")), reply(true, None), reply(true, None)];
        let statuses = judge(&[Some("a"), Some("b"), Some("c")], &replies);
        assert_eq!(statuses, [ReturnStatus::Delivered, returned(), ReturnStatus::Delivered]);
    }

    #[test]
    fn only_what_was_acked_is_delivered() {
        let replies = [reply(false, None), reply(true, None), reply(false, Some("c"))];
        let statuses = judge(&[Some("a"), Some("b"), Some("c")], &replies);
        assert_eq!(statuses, [ReturnStatus::Refused, ReturnStatus::Delivered, returned()]);
    }

    #[test]
    fn in_doubt_nothing_is_delivered() {
        // One id twice, as when a consumer moves a message while the relay repeats it.
        let replies = [reply(true, None), reply(true, Some("a"))];
        assert_eq!(judge(&[Some("a"), Some("a")], &replies), [returned(), returned()]);
        // No id at all.
        let nameless =
            Reply { acked: true, returned: Some(Returned { message_id: None, said: String::new() }) };
        let statuses = judge(&[None, Some("b")], &[reply(true, None), nameless]);
        assert_eq!(statuses, [ReturnStatus::Returned(String::new()), ReturnStatus::Delivered]);
    }
}
