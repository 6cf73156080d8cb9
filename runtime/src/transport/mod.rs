//! The port to whatever carries messages to consumers.

pub(crate) mod in_process;
mod topic;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::message::{Half, Message, MessageId};

pub(crate) use topic::Pattern;

/// A confirmed message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) half: Arc<Half>,
    /// Which delivery attempt this is, from 1.
    pub(crate) attempt: u32,
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Publication {
    /// The transport has taken responsibility.
    Acknowledged,
    /// No queue takes such messages.
    Unroutable(String),
    /// Not delivered, or not known to be: to be tried again.
    Failed(String),
    /// Not tried, since nobody is ready for it: to be tried later, and not counted.
    NotNow(String),
    /// Never deliverable: trying again won't help.
    Refused(String),
}

/// Publishes messages.
#[async_trait]
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Publishes one message, and waits until its fate is known. May run for many at once.
    async fn publish(&self, outgoing: &Outgoing) -> Publication;

    /// How many more messages are worth being brought here now.
    fn capacity(&self) -> usize;
}

/// A message that came out of the transport.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: MessageId,
    pub(crate) message: Message,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    /// Tells the publisher that the consumer's work on it begins.
    pub(crate) taken: oneshot::Sender<()>,
    /// Takes the consumer's word; dropped without it, the message comes again.
    pub(crate) settle: oneshot::Sender<Handled>,
}

/// The consumer's word on a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// The effect has happened, now or earlier: acknowledge.
    Done,
    /// It has not: deliver again later.
    Failed(String),
    /// It could not even be tried: deliver again later, and don't count it.
    NotNow(String),
    /// It never will: to the dead letters, with the reason.
    Rejected(String),
}
