//! A hand on the dead letters, for operators: takes one after the other, and puts it back into its consumer's queue,
//! removes it, or gives it back. What was not settled goes back by itself when the connection ends, however it ends.

use std::time::Duration;

use futures_util::stream::BoxStream;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, ConfirmSelectOptions};
use lapin::{Channel, Event};
use tokio::time::{Instant, sleep, timeout};

use super::batch::{Batch, ReturnStatus};
use super::broker::Broker;
use super::connection::{
    ConnectError, Connected, OwnedConnection, close, code, connect, set_up, text, until_lost,
};
use super::dead_letter::Letter;
use super::delivery_limit::{Limit, Version};
use super::establish::{limit_of, look_for};
use super::properties::room_for_headers;
use super::remedy::against_limit;
use super::rights::refused_right;
use super::topology::Queues;
use crate::error::{Error, ErrorKind};

/// How long the broker may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a queue may take to have back what it was given back.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So many are taken only for their order.
const TURNED: u32 = 1000;
/// Where the limit can't be seen, nothing is taken that was in hand so often: half of RabbitMQ's default since version 4.
const OFTEN: u64 = 10;
const PURPOSE: &str = "operating";

/// How to say that nothing is to be feared.
const DESPITE: &str = "`tm dead --despite-limit`, `DeadLetters::at_any_cost`";

/// One connection, on which one channel takes and another one publishes.
pub(crate) struct DeadLetterHand {
    broker: Broker,
    connection: OwnedConnection,
    events: BoxStream<'static, Event>,
    /// Messages are taken on it; those that are not settled go back with its end.
    taking: Option<Channel>,
    /// So many.
    in_hand: u32,
    /// Nobody else publishes on it: only then can the broker's answers be told apart.
    publishing: Option<Channel>,
    /// Which RabbitMQ it is, once that was asked.
    version: Option<Version>,
    /// Why what was handed out often is left alone, where it is.
    careful: Option<String>,
    /// Such a one was taken: whatever follows stays where it is.
    met_worn: bool,
}

impl std::fmt::Debug for DeadLetterHand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterHand").field("broker", &self.broker).finish_non_exhaustive()
    }
}

/// Why something did not come about.
enum Trouble {
    /// The broker refused it, and ended the channel.
    Refused(lapin::Error),
    /// The connection is of no more use.
    Lost(ConnectError),
}

impl DeadLetterHand {
    pub(super) async fn connect(broker: Broker) -> Result<Self, Error> {
        let connected = connect(&broker, PURPOSE).await;
        let Connected { connection, events, .. } =
            connected.map_err(|trouble| unavailable(&broker, &trouble))?;
        Ok(Self {
            broker,
            connection,
            events,
            taking: None,
            in_hand: 0,
            publishing: None,
            version: None,
            careful: None,
            met_worn: false,
        })
    }

    /// How many dead letters nobody works on; none if the consumer has no queue for them.
    pub(crate) async fn depth(&mut self, queues: &Queues) -> Result<Option<u32>, Error> {
        let Self { connection, events, .. } = self;
        let looking = async { Ok(look_for(connection, &queues.dead).await) };
        match set_up(connection, events, looking).await {
            Ok(Ok(count)) => Ok(Some(count)),
            Ok(Err(error)) if code(&error) == Some(404) => Ok(None),
            Ok(Err(error)) => Err(self.explained(Trouble::Refused(error), "read", queues.dead.as_str())),
            Err(trouble) => Err(unavailable(&self.broker, &trouble)),
        }
    }

    /// Why these dead letters are lost if they are looked at some times, if they are. Asks for what is there already, so it
    /// changes nothing. A user without the right to ask is not told: what was handed out often is not taken then.
    pub(crate) async fn looking_drops(&mut self, queues: &Queues) -> Result<Option<String>, Error> {
        let Self { connection, events, .. } = self;
        let declaration = queues.dead_letters();
        let asking = limit_of(connection, &declaration);
        let limit = ask(connection, events, asking).await;
        let limit = limit.map_err(|trouble| self.explained(trouble, "read", queues.dead.as_str()))?;
        self.careful = None;
        if limit == Limit::Ours {
            return Ok(None);
        }
        let (dead, vhost) = (queues.dead.as_str(), self.broker.vhost());
        if self.version.is_none() {
            self.version = Some(Version::of(&self.broker.nodes).await);
        }
        let Some(version) = &self.version else { return Ok(None) };
        if limit == Limit::Unknown && version.may_drop_what_is_looked_at() {
            self.careful = Some(format!(
                "{version} drops at 20 times, unless `{dead}` has a larger limit, which this user can't see"
            ));
        }
        Ok(version.drops_what_is_looked_at(&limit).map(|evidence| {
            let remedy = against_limit(vhost, dead, &limit);
            let despite = match limit {
                Limit::Missing => format!(". AMQP does not show a policy: once there is one, say so ({DESPITE})"),
                _ => String::new(),
            };
            format!("the queue `{dead}` drops what was in hand too often: {evidence}. Mend that first: {remedy}{despite}")
        }))
    }

    /// The first dead letter that is not taken yet.
    pub(crate) async fn take(&mut self, queues: &Queues) -> Result<Option<Letter>, Error> {
        let taken = self.try_to_take(queues).await;
        self.mind_the_end(&taken);
        let taken = taken.map_err(|trouble| self.explained(trouble, "read", queues.dead.as_str()))?;
        let Some(delivery) = taken else { return Ok(None) };
        self.in_hand += 1;
        let letter = Letter::new(delivery, queues);
        match &self.careful {
            Some(why) if letter.handed_out() >= OFTEN => {
                self.met_worn = true;
                Err(Error::new(ErrorKind::Refused, worn(&letter, queues, why)))
            }
            _ => Ok(Some(letter)),
        }
    }

    /// A refusal has closed the channel, and what was in hand has gone back.
    fn mind_the_end<T>(&mut self, answer: &Result<T, Trouble>) {
        if matches!(answer, Err(Trouble::Refused(_))) {
            (self.taking, self.in_hand) = (None, 0);
        }
    }

    async fn try_to_take(&mut self, queues: &Queues) -> Result<Option<Delivery>, Trouble> {
        let channel = if let Some(channel) = &self.taking {
            channel.clone()
        } else {
            let opening = self.connection.create_channel();
            let channel = ask(&self.connection, &mut self.events, opening).await?;
            self.taking.insert(channel).clone()
        };
        let getting = channel.basic_get(queues.dead.clone(), BasicGetOptions::default());
        let got = ask(&self.connection, &mut self.events, getting).await?;
        Ok(got.map(|got| got.delivery))
    }

    /// Publishes a dead letter to its consumer's queue. `Ok(Err)`: why it is not there, and what it was. `Err`: nobody
    /// knows, and this hand is of no more use.
    pub(crate) async fn put_back(
        &mut self,
        letter: &Letter,
        queues: &Queues,
    ) -> Result<Result<(), String>, Error> {
        let frame_bytes = self.connection.configuration().frame_max();
        let message = letter.again(&queues.main, room_for_headers(frame_bytes));
        if let Some(why) = message.does_not_fit(frame_bytes) {
            return Ok(Err(why));
        }
        let messages = [&message];
        let published = match self.publisher().await {
            Ok(channel) => {
                let publishing = async { Batch::publish(&channel, &messages).await?.judged().await };
                ask(&self.connection, &mut self.events, publishing).await
            }
            Err(trouble) => Err(trouble),
        };
        let main = queues.main.as_str();
        match published.map(|statuses| statuses.into_iter().flatten().next()) {
            Ok(Some(ReturnStatus::Delivered)) => Ok(Ok(())),
            Ok(Some(ReturnStatus::Returned(said))) => {
                Ok(Err(format!("there is no queue `{main}` to put it into (the broker says: {said})")))
            }
            Ok(Some(ReturnStatus::Refused) | None) => Ok(Err(format!(
                "the queue `{main}` refused it (negative publisher confirm): it is full, or has lost too many of its nodes"
            ))),
            Err(Trouble::Refused(error)) => {
                self.publishing = None;
                let about = "the default exchange (`amq.default`)";
                Ok(Err(refused_right(&self.broker, "write", about, &error).unwrap_or_else(|| text(&error))))
            }
            Err(lost) => Err(self.explained(lost, "write", main)),
        }
    }

    async fn publisher(&mut self) -> Result<Channel, Trouble> {
        if let Some(channel) = &self.publishing {
            return Ok(channel.clone());
        }
        let connection = &self.connection;
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = ask(connection, &mut self.events, opening).await?;
        Ok(self.publishing.insert(channel).clone())
    }

    /// Removes a letter for good.
    pub(crate) async fn remove(&mut self, letter: &Letter) -> Result<(), Error> {
        let Some(channel) = self.taking.clone() else {
            let why = "a dead letter could not be removed: it has gone back to its queue";
            return Err(Error::new(ErrorKind::Unavailable, why));
        };
        let removing = channel.basic_ack(letter.tag(), BasicAckOptions::default());
        let removed = ask(&self.connection, &mut self.events, removing).await;
        self.in_hand = self.in_hand.saturating_sub(1);
        self.mind_the_end(&removed);
        removed.map_err(|trouble| self.explained(trouble, "read", "it"))
    }

    /// Takes what is left behind those that were taken, so that everything goes back in its order: RabbitMQ puts what comes
    /// back behind what came back before, and without a delivery limit behind all others. Only where few are left, for each
    /// must be sent to us.
    pub(crate) async fn turn(&mut self, queues: &Queues) -> Result<(), Error> {
        let in_order = !std::mem::take(&mut self.met_worn);
        if in_order && self.taking.is_some() && self.depth(queues).await?.is_some_and(|left| left <= TURNED) {
            for _ in 0..TURNED {
                match self.take(queues).await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    // Less order, and nothing lost.
                    Err(_) if std::mem::take(&mut self.met_worn) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        self.give_back(queues).await
    }

    /// Gives everything back that was taken and not removed, and sees to it that what was removed is.
    async fn give_back(&mut self, queues: &Queues) -> Result<(), Error> {
        let Some(channel) = self.taking.take() else { return Ok(()) };
        let in_hand = std::mem::take(&mut self.in_hand);
        let others = self.depth(queues).await?.unwrap_or_default();
        let giving = async {
            if in_hand > 0 {
                // With this number: all that were taken on the channel.
                let options = BasicNackOptions { multiple: true, requeue: true };
                channel.basic_nack(0, options).await?;
            }
            // Whose answer comes after everything that was said on it.
            channel.close(200, "settled".into()).await
        };
        let given = ask(&self.connection, &mut self.events, giving).await;
        given.map_err(|trouble| self.explained(trouble, "read", queues.dead.as_str()))?;
        self.until_back(queues, others.saturating_add(in_hand)).await
    }

    /// A quorum queue takes things back some time after it was told to. Whoever counts then is told too little. Others may take
    /// some meanwhile, so this is not waited for long.
    async fn until_back(&mut self, queues: &Queues, all: u32) -> Result<(), Error> {
        let began = Instant::now();
        while self.depth(queues).await?.is_some_and(|depth| depth < all) && began.elapsed() < BACK_WITHIN {
            // Pacing: the broker does not say when.
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Ends the connection, and waits for that.
    pub(crate) async fn close(self) {
        close(self.connection).await;
    }

    fn explained(&self, trouble: Trouble, right: &str, what: &str) -> Error {
        match trouble {
            Trouble::Lost(lost) => unavailable(&self.broker, &lost),
            Trouble::Refused(error) if code(&error) == Some(404) => {
                Error::new(ErrorKind::Refused, format!("there is no queue `{what}` ({})", text(&error)))
            }
            Trouble::Refused(error) => match refused_right(&self.broker, right, what, &error) {
                Some(why) => Error::new(ErrorKind::Refused, why),
                None => unavailable(&self.broker, &error.into()),
            },
        }
    }
}

/// Waits for the broker, but not past the end of the connection: lapin leaves some requests without an answer then.
async fn ask<T>(
    connection: &OwnedConnection,
    events: &mut BoxStream<'static, Event>,
    answer: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, Trouble> {
    let answer = tokio::select! {
        biased;
        answer = timeout(PATIENCE, answer) => answer,
        lost = until_lost(connection, events, |_| {}) => return Err(Trouble::Lost(lost)),
    };
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if connection.status().connected() => Err(Trouble::Refused(error)),
        Ok(Err(error)) => Err(Trouble::Lost(error.into())),
        Err(_) => {
            let why =
                format!("no answer within {PATIENCE:?}; it may be short of memory or disk, and take nothing");
            Err(Trouble::Lost(ConnectError::passing(why)))
        }
    }
}

fn worn(letter: &Letter, queues: &Queues, why: &str) -> String {
    let (dead, times) = (queues.dead.as_str(), letter.handed_out());
    format!(
        "a dead letter of `{dead}` was handed out {times} times, and each time counts: {why}. Have a user with the right \
         `configure` on `{dead}` run `tm doctor`, and where the limit is a large one, say so ({DESPITE})"
    )
}

fn unavailable(broker: &Broker, trouble: &ConnectError) -> Error {
    Error::new(ErrorKind::Unavailable, format!("RabbitMQ at {broker}: {}", trouble.why))
}
