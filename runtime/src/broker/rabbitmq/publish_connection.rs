//! The connection that the channels publish on: its answers, and what the channels know of each other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, ErrorKind};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectError, code, text, there_and_back};
use super::publish_queue::{BrokerStatus, PublishQueue};

/// A connection, until it is lost.
///
/// Who ends a channel was on it. Who ends the connection could be on any channel: so a suspect is published while nothing
/// else is, and blamed for the end of a connection on which nothing failed before and no other answer is outstanding. What
/// lapin has queued when the broker ends a channel goes out after its answer to that, and ends the connection (504,
/// "expected 'channel.open'").
#[derive(Debug)]
pub(super) struct PublishConnection<'a> {
    pub(super) queue: &'a PublishQueue,
    pub(super) connection: &'a Connection,
    /// It is of no more use.
    pub(super) lost: CancellationToken,
    publishing: RwLock<()>,
    /// Batches that wait for answers while others are published.
    pub(super) stragglers: AtomicUsize,
    failed: AtomicBool,
}

/// Held while a batch is published and answered.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub(super) enum Turn<'a> {
    Beside(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

/// Why a batch failed as a whole.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) trouble: ConnectError,
    pub(super) code: Option<u16>,
    /// Nothing else will work on this connection.
    pub(super) ends_the_connection: bool,
}

impl<'a> PublishConnection<'a> {
    pub(super) fn new(queue: &'a PublishQueue, connection: &'a Connection) -> Self {
        let (stragglers, failed) = (AtomicUsize::default(), AtomicBool::default());
        let (lost, publishing) = (CancellationToken::new(), RwLock::default());
        Self { queue, connection, lost, publishing, stragglers, failed }
    }

    /// Waits until no suspect is being published; for a suspect, until nothing is. Whoever publishes has a time-out, so the
    /// wait has an end.
    pub(super) async fn turn(&self, suspect: bool) -> Turn<'_> {
        if suspect {
            Turn::Alone(self.publishing.write().await)
        } else {
            Turn::Beside(self.publishing.read().await)
        }
    }

    /// Notes that something failed. Whether it was the first time on this connection, while nobody waited for another answer.
    pub(super) fn fails_first(&self) -> bool {
        !self.failed.swap(true, Ordering::Relaxed) && self.stragglers.load(Ordering::Relaxed) == 0
    }

    /// Gives the connection up, which is no message's fault.
    pub(super) fn give_up(&self) {
        self.fails_first();
        self.lost.cancel();
    }

    /// A new channel that confirms.
    pub(super) async fn channel(&self) -> Result<Channel, Failure> {
        let opening = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        self.wait_for(opening).await
    }

    /// Waits until the broker has answered something.
    pub(super) async fn round_trip(&self) -> Result<(), Failure> {
        self.wait_for(there_and_back(self.connection)).await
    }

    /// Waits for the broker, within the publisher's patience.
    pub(super) async fn wait_for<T>(
        &self,
        answer: impl Future<Output = Result<T, lapin::Error>>,
    ) -> Result<T, Failure> {
        let patience = self.queue.patience;
        let answered = self.wait_within(patience, answer).await?;
        answered.ok_or_else(|| Failure::of_connection(format!("RabbitMQ did not answer within {patience:?}")))
    }

    /// Waits for the broker, not longer than that, and not past the end of the connection: lapin has been seen to leave a
    /// request without an answer then.
    pub(super) async fn wait_within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, lapin::Error>>,
    ) -> Result<Option<T>, Failure> {
        tokio::select! {
            biased;
            answer = answer => answer.map(Some).map_err(|error| self.failure(&error)),
            () = self.lost.cancelled() => Err(Failure::of_connection("the connection to RabbitMQ was lost")),
            () = self.is_over(patience) => Ok(None),
        }
    }

    /// The time in which the broker takes no messages does not count.
    async fn is_over(&self, patience: Duration) {
        let mut status = self.queue.watch();
        loop {
            let blocked = matches!(&*status.borrow_and_update(), BrokerStatus::Blocked(_));
            tokio::select! {
                () = sleep(patience), if !blocked => return,
                Ok(()) = status.changed() => {}
            }
        }
    }

    fn failure(&self, error: &lapin::Error) -> Failure {
        let no_more_channels = matches!(error.kind(), ErrorKind::ChannelsLimitReached);
        if no_more_channels {
            self.fails_first();
        }
        Failure {
            trouble: ConnectError::passing(text(error)),
            code: code(error),
            ends_the_connection: no_more_channels || !self.connection.status().connected(),
        }
    }
}

impl Failure {
    /// Whether the connection goes on.
    pub(super) fn result(self) -> Result<(), ConnectError> {
        if self.ends_the_connection { Err(self.trouble) } else { Ok(()) }
    }

    fn of_connection(why: impl Into<String>) -> Self {
        Self { trouble: ConnectError::passing(why), code: None, ends_the_connection: true }
    }
}
