//! A batch: messages that are published one after the other and judged together.
//!
//! lapin hands a returned message to whichever publisher confirm is next, so no single one can be
//! believed. But every return comes before its own confirm: once that is here, and all that lapin had read before, the
//! return is, too, and says by its `message_id` whose it is. This holds only for a channel on which nobody else publishes.

use futures_util::FutureExt;
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

/// Messages on their way to the broker, and what it has said about them.
#[derive(Debug)]
pub(super) struct Batch {
    channel: Channel,
    ids: Vec<Option<String>>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
enum Answer {
    Awaited(PublisherConfirm),
    Here(Reply),
    /// There will be none.
    Lost(lapin::Error),
}

impl Batch {
    /// Publishes all. `Err`, here and below: the channel is of no more use, and nothing is known of any of them.
    pub(super) async fn publish(channel: &Channel, messages: &[&AmqpMessage]) -> Result<Self, lapin::Error> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            answers.push(Answer::Awaited(quietly(send(channel, message)).await?));
        }
        let ids = messages.iter().map(|message| id(message).map(ToOwned::to_owned)).collect();
        Ok(Self { channel: channel.clone(), ids, answers })
    }

    /// Waits for the next answer, in the order of the messages. `false`: there was none to wait for. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<bool, lapin::Error> {
        for answer in &mut self.answers {
            match answer {
                Answer::Here(_) => {}
                Answer::Lost(error) => return Err(error.clone()),
                Answer::Awaited(confirm) => {
                    *answer = Answer::Here(Reply::from(fault::pending("published", confirm).await?));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Waits for all, and judges them. Cancel safe.
    pub(super) async fn judged(&mut self) -> Result<Vec<Option<ReturnStatus>>, lapin::Error> {
        while self.next().await? {}
        Ok(judge(&self.ids, &self.replies()))
    }

    /// Judges those that have been answered by now. If that is not all, it takes a `round_trip` on the same connection: after that,
    /// all returns are here that came before the confirms that were here already.
    pub(super) async fn judged_so_far<E>(
        &mut self,
        round_trip: impl Future<Output = Result<(), E>>,
    ) -> Result<Vec<Option<ReturnStatus>>, E> {
        self.look();
        let answered: Vec<_> = self.replies().iter().map(Option::is_some).collect();
        if answered.contains(&false) {
            round_trip.await?;
            self.look();
        }
        let judged = judge(&self.ids, &self.replies());
        Ok(judged.into_iter().zip(answered).map(|(status, answered)| status.filter(|_| answered)).collect())
    }

    /// Gives up what is not answered.
    pub(super) async fn close(&self) -> Result<(), lapin::Error> {
        self.channel.close(200, "the rest is not waited for".into()).await
    }

    /// Takes note of the confirms that have come.
    fn look(&mut self) {
        for answer in &mut self.answers {
            if let Answer::Awaited(confirm) = answer
                && let Some(confirmed) = confirm.now_or_never()
            {
                *answer = confirmed.map_or_else(Answer::Lost, |confirmed| Answer::Here(confirmed.into()));
            }
        }
    }

    fn replies(&self) -> Vec<Option<&Reply>> {
        self.answers.iter().map(Answer::reply).collect()
    }
}

impl Answer {
    const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Here(reply) => Some(reply),
            Self::Awaited(_) | Self::Lost(_) => None,
        }
    }
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

/// Judges those that were answered; the returns of all of them are here. A message without an id is only delivered when
/// no such message came back. Where one came back that is not answered, it may stand in place of another return: nothing
/// is judged.
fn judge(ids: &[Option<String>], replies: &[Option<&Reply>]) -> Vec<Option<ReturnStatus>> {
    let returned = |id: &Option<String>| {
        let mut returned = replies.iter().flatten().filter_map(|reply| reply.returned.as_ref());
        returned.find(|returned| returned.message_id == *id)
    };
    let status = |id: &Option<String>, reply: &Reply| {
        let returned = if fault::bug("returns-ignored") {
            None
        } else if fault::bug("returns-believed") {
            reply.returned.as_ref()
        } else {
            returned(id)
        };
        match returned {
            Some(returned) => ReturnStatus::Returned(returned.said.clone()),
            None if reply.acked => ReturnStatus::Delivered,
            None => ReturnStatus::Refused,
        }
    };
    let mut unanswered = ids.iter().zip(replies).filter(|(_, reply)| reply.is_none());
    let is_clear = unanswered.all(|(id, _)| returned(id).is_none());
    let pairs = ids.iter().zip(replies.iter().copied());
    pairs.map(|(id, reply)| reply.filter(|_| is_clear).map(|reply| status(id, reply))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(acked: bool, returned: Option<&str>) -> Reply {
        let returned = returned.map(|id| Returned { message_id: Some(id.into()), said: "NO_ROUTE".into() });
        Reply { acked, returned }
    }

    fn judged(ids: &[Option<&str>], replies: &[Reply]) -> Vec<ReturnStatus> {
        let ids: Vec<_> = ids.iter().map(|id| id.map(ToOwned::to_owned)).collect();
        judge(&ids, &replies.iter().map(Some).collect::<Vec<_>>()).into_iter().flatten().collect()
    }

    fn returned() -> ReturnStatus {
        ReturnStatus::Returned("NO_ROUTE".into())
    }

    #[test]
    fn a_return_belongs_to_the_message_whose_id_it_has() {
        // As lapin has been seen to do it: the second message came back, the first's confirm says so.
        let replies = [reply(true, Some("b")), reply(true, None), reply(true, None)];
        let statuses = judged(&[Some("a"), Some("b"), Some("c")], &replies);
        assert_eq!(statuses, [ReturnStatus::Delivered, returned(), ReturnStatus::Delivered]);
    }

    #[test]
    fn only_what_was_acked_is_delivered() {
        let replies = [reply(false, None), reply(true, None), reply(false, Some("c"))];
        let statuses = judged(&[Some("a"), Some("b"), Some("c")], &replies);
        assert_eq!(statuses, [ReturnStatus::Refused, ReturnStatus::Delivered, returned()]);
    }

    #[test]
    fn in_doubt_nothing_is_delivered() {
        // One id twice, as when a consumer moves a message while the relay repeats it.
        let replies = [reply(true, None), reply(true, Some("a"))];
        assert_eq!(judged(&[Some("a"), Some("a")], &replies), [returned(), returned()]);
        // No id at all.
        let nameless =
            Reply { acked: true, returned: Some(Returned { message_id: None, said: String::new() }) };
        let statuses = judged(&[None, Some("b")], &[reply(true, None), nameless]);
        assert_eq!(statuses, [ReturnStatus::Returned(String::new()), ReturnStatus::Delivered]);
    }

    #[test]
    fn what_is_not_answered_is_not_judged_and_brings_others_returns() {
        let replies = [reply(true, None), reply(true, Some("a"))];
        let ids = ["a", "b", "c"].map(|id| Some(id.to_owned()));
        let statuses = judge(&ids, &[Some(&replies[0]), Some(&replies[1]), None]);
        assert_eq!(statuses, [Some(returned()), Some(ReturnStatus::Delivered), None]);
        // The return of `a` may wait behind that of `c`, which came with the answer to `b`.
        let replies = [reply(true, None), reply(true, Some("c"))];
        assert_eq!(judge(&ids, &[Some(&replies[0]), Some(&replies[1]), None]), [None, None, None]);
    }
}
