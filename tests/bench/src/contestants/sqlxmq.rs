//! The crate sqlxmq 0.6, with its two-phase commit: the nearest to a half message that there is.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use lapin::Channel;
use peer_sqlx::PgPool;
use sqlxmq::{CurrentJob, JobRegistry, JobRunnerHandle, job};

use super::Contestant;
use super::peer::{self, pay};
use crate::broker;
use crate::shop::Payment;
use crate::world::World;

/// Longer than any call.
const COMMIT_INTERVAL: Duration = Duration::from_mins(1);

pub(crate) struct Sender {
    pub(crate) pool: PgPool,
}

impl Sender {
    pub(crate) async fn open(world: &World, name: &str) -> anyhow::Result<Self> {
        Ok(Self { pool: peer::pool(world, name, "sqlxmq").await? })
    }
}

#[async_trait]
impl Contestant for Sender {
    async fn call(&self, payment: Payment) -> anyhow::Result<()> {
        let mut job = send.builder();
        let id = job.set_json(&payment)?.set_commit_interval(Some(COMMIT_INTERVAL)).spawn(&self.pool).await?;
        pay(&mut *self.pool.acquire().await?, &payment).await?;
        sqlxmq::commit(&self.pool, &[id]).await?;
        Ok(())
    }
}

/// Runs the jobs.
pub(super) async fn run(pool: &PgPool, channel: Channel) -> anyhow::Result<JobRunnerHandle> {
    let mut registry = JobRegistry::new(&[send]);
    registry.set_context(channel);
    Ok(registry.runner(pool).run().await?)
}

#[job]
async fn send(mut job: CurrentJob, channel: Channel) -> anyhow::Result<()> {
    let payment: Payment = job.json()?.context("a job without a payment")?;
    broker::confirmed(broker::publish(&channel, job.id(), &payment.json()?).await?).await?;
    job.complete().await?;
    Ok(())
}
