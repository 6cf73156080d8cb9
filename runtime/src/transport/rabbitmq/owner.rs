//! An owner: the one task that publishes on its channel, and who decides whom to blame.

use std::collections::HashMap;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connection::{Trouble, code, text};
use super::properties::{Letter, Short};
use super::publisher::{Job, Publisher, Standing};
use super::topology::{has_exchange, missing_exchange};
use super::window::{self, Fate};
use crate::transport::Publication;

/// How long an exchange that was refused is not tried again.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// Exchanges remembered; more than an application has, unless it makes up their names.
const EXCHANGES: usize = 1000;

/// Publishes windows on a channel of its own.
pub(super) struct Owner<'a> {
    publisher: &'a Publisher,
    connection: &'a Connection,
    /// The connection is of no more use.
    lost: &'a CancellationToken,
    channel: Option<Channel>,
    /// What is known of exchanges: publishing to one that is missing ends the channel, with all that
    /// is unconfirmed there.
    exchanges: HashMap<Short, Result<(), Refused>>,
}

/// An exchange that takes no messages, at least until then.
struct Refused {
    why: String,
    until: Instant,
}

/// Why a window failed as a whole.
struct Failure {
    trouble: Trouble,
    code: Option<u16>,
    /// Nothing else will work on this connection.
    ends_the_connection: bool,
}

impl<'a> Owner<'a> {
    pub(super) fn new(
        publisher: &'a Publisher,
        connection: &'a Connection,
        lost: &'a CancellationToken,
    ) -> Self {
        Self { publisher, connection, lost, channel: None, exchanges: HashMap::new() }
    }

    /// Publishes until the connection is lost. Says why, if that was seen here.
    pub(super) async fn run(mut self) -> Option<Trouble> {
        loop {
            let window = tokio::select! {
                window = self.publisher.next_window() => window,
                () = self.lost.cancelled() => return None,
            };
            if let Err(trouble) = self.deliver(window).await {
                return Some(trouble);
            }
        }
    }

    /// Publishes a window, and answers each of its jobs, or makes suspects of them.
    async fn deliver(&mut self, window: Vec<Job>) -> Result<(), Trouble> {
        let window = self.with_known_exchanges(window).await?;
        let letters: Vec<_> = window.iter().map(|job| &job.letter).collect();
        let Some(first) = letters.first() else { return Ok(()) };
        let (alone, exchange) = (letters.len() == 1, first.exchange.clone());
        let failure = match self.publish(&letters).await {
            Ok(fates) => {
                for (job, fate) in window.into_iter().zip(fates) {
                    let publication = publication(&job.letter, fate);
                    job.answer(publication);
                }
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.channel = None;
        if failure.code == Some(404) {
            // Deleted since it was seen; whose it was turns out when each is looked at again.
            self.exchanges.clear();
            self.publisher.suspect(window);
        } else if alone {
            let why = &failure.trouble.why;
            if failure.code == Some(403) {
                self.refuse(exchange, why);
            }
            for job in window {
                job.answer(Publication::Failed(why.clone()));
            }
        } else {
            self.publisher.suspect(window);
        }
        if failure.ends_the_connection { Err(failure.trouble) } else { Ok(()) }
    }

    async fn publish(&mut self, letters: &[&Letter]) -> Result<Vec<Fate>, Failure> {
        let channel = self.channel().await?;
        self.wait_for(window::publish(&channel, letters)).await
    }

    async fn channel(&mut self) -> Result<Channel, Failure> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let opening = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = self.wait_for(opening).await?;
        Ok(self.channel.insert(channel).clone())
    }

    /// Waits for the broker, within the publisher's patience, and not past the end of the connection:
    /// lapin has been seen to leave a request without an answer then.
    async fn wait_for<T>(&self, answer: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, Failure> {
        let trouble = tokio::select! {
            biased;
            answer = answer => return answer.map_err(|error| self.failure(&error)),
            () = self.lost.cancelled() => Trouble::passing("the connection to RabbitMQ was lost"),
            () = self.out_of_patience() => {
                Trouble::passing(format!("RabbitMQ did not answer within {:?}", self.publisher.patience))
            }
        };
        Err(Failure { trouble, code: None, ends_the_connection: true })
    }

    /// The time in which the broker takes no messages does not count.
    async fn out_of_patience(&self) {
        let mut standing = self.publisher.standing.subscribe();
        loop {
            let blocked = matches!(&*standing.borrow_and_update(), Standing::Blocked(_));
            tokio::select! {
                () = sleep(self.publisher.patience), if !blocked => return,
                Ok(()) = standing.changed() => {}
            }
        }
    }

    fn failure(&self, error: &lapin::Error) -> Failure {
        Failure {
            trouble: Trouble::passing(text(error)),
            code: code(error),
            ends_the_connection: !self.connection.status().connected(),
        }
    }

    /// The messages whose exchange is there. The others are answered.
    async fn with_known_exchanges(&mut self, window: Vec<Job>) -> Result<Vec<Job>, Trouble> {
        let mut known = Vec::with_capacity(window.len());
        let mut window = window.into_iter();
        while let Some(job) = window.next() {
            match self.exchange(&job.letter.exchange).await {
                Ok(Ok(())) => known.push(job),
                Ok(Err(why)) => job.answer(Publication::Failed(why)),
                Err(trouble) => {
                    for job in known.into_iter().chain([job]).chain(window) {
                        job.answer(Publication::NotNow(trouble.why.clone()));
                    }
                    return Err(trouble);
                }
            }
        }
        Ok(known)
    }

    /// Whether an exchange takes messages, from memory or from the broker.
    async fn exchange(&mut self, name: &Short) -> Result<Result<(), String>, Trouble> {
        match self.exchanges.get(name) {
            // The default exchange is always there.
            _ if name.as_str().is_empty() => return Ok(Ok(())),
            Some(Ok(())) => return Ok(Ok(())),
            Some(Err(refused)) if Instant::now() < refused.until => return Ok(Err(refused.why.clone())),
            _ => {}
        }
        // On a channel of its own, which ends if the exchange is missing.
        let looking = async { has_exchange(&self.connection.create_channel().await?, name).await };
        let there = self.wait_for(looking).await.map_err(|failure| failure.trouble)?;
        if there {
            self.remember(name.clone(), Ok(()));
            Ok(Ok(()))
        } else {
            let why = missing_exchange(name.as_str());
            self.refuse(name.clone(), &why);
            Ok(Err(why))
        }
    }

    fn refuse(&mut self, exchange: Short, why: &str) {
        self.remember(exchange, Err(Refused { why: why.to_owned(), until: Instant::now() + REFUSED_FOR }));
    }

    fn remember(&mut self, exchange: Short, standing: Result<(), Refused>) {
        if self.exchanges.len() >= EXCHANGES {
            self.exchanges.clear();
        }
        self.exchanges.insert(exchange, standing);
    }
}

fn publication(letter: &Letter, fate: Fate) -> Publication {
    match fate {
        Fate::Delivered => Publication::Acknowledged,
        Fate::Returned(said) => Publication::Unroutable(format!(
            "no queue is bound to exchange `{}` for the routing key `{}` (the broker says: {said})",
            letter.exchange, letter.routing_key
        )),
        Fate::Refused => Publication::Failed(format!(
            "a queue refused the message (negative publisher confirm): one that is bound to exchange `{}` for \
             the routing key `{}` is full, or has lost too many of its nodes",
            letter.exchange, letter.routing_key
        )),
    }
}
