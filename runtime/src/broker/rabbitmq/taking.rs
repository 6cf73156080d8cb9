//! Takes messages out of a queue: as many at once as its consumer handles. When that changes, up to twice as many are in hand
//! until the older ones are done.

use std::time::Duration;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::transport::Paused;

/// How often a channel is looked at that nothing comes from.
const LOOK: Duration = Duration::from_secs(1);

/// How many messages a consumer wants at once.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Batches; it may change at any time.
    pub(super) concurrency: watch::Receiver<usize>,
    pub(super) batch: usize,
    /// A person wants no more to be taken.
    pub(super) paused: watch::Receiver<Option<Paused>>,
}

impl Wanted {
    /// As many, if it does not change; none during a pause.
    fn now(&mut self) -> u16 {
        let messages = self.concurrency.borrow_and_update().saturating_mul(self.batch);
        let is_paused = self.paused.borrow_and_update().as_ref().and_then(Paused::lasts).is_some();
        if is_paused { 0 } else { u16::try_from(messages).unwrap_or(u16::MAX) }
    }

    /// Waits until that may have changed.
    async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.concurrency.changed() => {}
            Ok(()) = self.paused.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// Takes from one queue, on one channel.
#[derive(Debug)]
pub(super) struct Taking {
    /// Closed when nobody has it any more.
    pub(super) channel: Channel,
    queue: ShortString,
    wanted: Wanted,
    /// None during a pause: RabbitMQ takes a prefetch of 0 for no bound.
    consumer: Option<lapin::Consumer>,
    /// What was on its way when it was cancelled still comes.
    cancelled: bool,
}

impl Taking {
    /// Begins to take from `queue`.
    pub(super) async fn begin(
        channel: Channel,
        queue: ShortString,
        mut wanted: Wanted,
    ) -> Result<Self, lapin::Error> {
        let ahead = wanted.now();
        let consumer = if ahead == 0 { None } else { Some(consume(&channel, &queue, ahead).await?) };
        let cancelled = consumer.is_none();
        Ok(Self { channel, queue, wanted, consumer, cancelled })
    }

    /// What is taken until `stop`. It ends before when RabbitMQ ends it. `in_hand`: how much of it is not settled yet.
    pub(super) fn until(
        self,
        stop: &CancellationToken,
        in_hand: watch::Receiver<usize>,
    ) -> impl Stream<Item = Result<Delivery, lapin::Error>> {
        unfold((self, in_hand), async move |(mut taking, mut in_hand)| {
            let taken = taking.next(stop, &mut in_hand).await.transpose()?;
            Some((taken, (taking, in_hand)))
        })
    }

    /// Not cancel safe.
    async fn next(
        &mut self,
        stop: &CancellationToken,
        in_hand: &mut watch::Receiver<usize>,
    ) -> Result<Option<Delivery>, lapin::Error> {
        loop {
            tokio::select! {
                taken = next_of(self.consumer.as_mut()) => match taken {
                    Some(taken) => return taken.map(Some),
                    None if self.cancelled && self.has_room(stop, in_hand).await => {
                        // The one before has ended, and is asked nothing more.
                        self.consumer = None;
                        let ahead = self.wanted.now();
                        if ahead > 0 {
                            self.consumer = Some(consume(&self.channel, &self.queue, ahead).await?);
                            self.cancelled = false;
                        }
                    }
                    None => return Ok(None),
                },
                () = stop.cancelled(), if !self.cancelled => self.cancel().await?,
                // What RabbitMQ sends a consumer ahead stays what it was when that began.
                () = self.wanted.changed(), if !self.cancelled => self.cancel().await?,
            }
        }
    }

    async fn cancel(&mut self) -> Result<(), lapin::Error> {
        self.cancelled = true;
        let Some(consumer) = &self.consumer else { return Ok(()) };
        self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await
    }

    /// Waits until less is in hand than is wanted: RabbitMQ does not count it against the next consumer, and nothing may
    /// wait here for long. `false`: stopped, or the channel is closed, which nobody else sees.
    async fn has_room(&mut self, stop: &CancellationToken, in_hand: &mut watch::Receiver<usize>) -> bool {
        let mut said = false;
        loop {
            let (held, wanted) = (*in_hand.borrow_and_update(), self.wanted.now());
            if held < wanted.into() {
                return !stop.is_cancelled();
            }
            if !std::mem::replace(&mut said, true) {
                tracing::debug!(queue = %self.queue, held, wanted, "nothing more is taken until less is in hand");
            }
            tokio::select! {
                Ok(()) = in_hand.changed() => {}
                () = self.wanted.changed() => {}
                () = stop.cancelled() => return false,
                () = sleep(LOOK) => if !self.channel.status().connected() {
                    return false;
                },
            }
        }
    }
}

async fn next_of(consumer: Option<&mut lapin::Consumer>) -> Option<Result<Delivery, lapin::Error>> {
    consumer?.next().await
}

async fn consume(
    channel: &Channel,
    queue: &ShortString,
    ahead: u16,
) -> Result<lapin::Consumer, lapin::Error> {
    // Before the first message is on its way.
    channel.basic_qos(ahead, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.clone(), "".into(), options, arguments).await
}
