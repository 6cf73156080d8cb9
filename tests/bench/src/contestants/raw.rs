//! RabbitMQ alone: what no transactional message can be faster than.

use async_trait::async_trait;
use lapin::{Channel, PublisherConfirm};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Contestant;
use super::couriers::Courier;
use crate::broker::{self, Broker};
use crate::shop::Payment;

/// Messages that one channel has under way, like ours.
const WINDOW: usize = 256;
const CHANNELS: usize = 2;

/// Publishes, and waits for the confirm. A task a channel publishes for all callers: lapin mixes up confirms
/// when several tasks publish on one channel.
pub(crate) struct Raw {
    jobs: Vec<mpsc::Sender<Job>>,
}

struct Job {
    payment: Payment,
    confirm: oneshot::Sender<anyhow::Result<PublisherConfirm>>,
}

impl Raw {
    pub(crate) async fn open(broker: &Broker) -> anyhow::Result<Self> {
        let mut jobs = Vec::new();
        for _ in 0..CHANNELS {
            let (sender, receiver) = mpsc::channel(WINDOW);
            tokio::spawn(publish(broker.confirming().await?, receiver));
            jobs.push(sender);
        }
        Ok(Self { jobs })
    }
}

async fn publish(channel: Channel, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { payment, confirm }) = jobs.recv().await {
        let published = async { broker::publish(&channel, Uuid::now_v7(), &payment.json()?).await };
        // A caller who has left wants no confirm.
        let _ = confirm.send(published.await);
    }
}

#[async_trait]
impl Contestant for Raw {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let (confirm, published) = oneshot::channel();
        let jobs = &self.jobs[fastrand::usize(..self.jobs.len())];
        jobs.send(Job { payment, confirm }).await.map_err(|_| anyhow::anyhow!("the publisher has ended"))?;
        broker::confirmed(published.await??).await
    }
}

#[async_trait]
impl Courier for Raw {
    async fn waiting(&self) -> anyhow::Result<i64> {
        Ok(0)
    }
}
