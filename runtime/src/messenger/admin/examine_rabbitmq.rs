//! Looks for what is wrong with RabbitMQ's queues and exchanges. Reads only.

use super::Admin;
use super::examine::Finding;
use crate::broker::rabbitmq::{Noticed, RabbitMq, Wanted};
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;

impl Admin<'_> {
    /// Looks for what is wrong at RabbitMQ around the consumers and senders that have announced themselves within a day: a
    /// broker that can't be reached, exchanges and queues that are not there, dead letters that wait, rights that are
    /// missing, and delivery limits so small that messages which were only looked at are dropped. RabbitMQ's default is one
    /// since its version 4. AMQP does not show policies: one may set a large limit where the queue has none of its own, and
    /// a small one where the queue's own is large, for the smaller one of the two counts.
    ///
    /// Reads only: it declares queues as they should be, which changes none that is there. One that somebody deletes just then
    /// is created anew. It ends at the first question without an answer, and after 20 s. What could not be looked at is a
    /// finding, too.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a wrong URL; [`ErrorKind::Unavailable`] when the store does not answer.
    pub async fn examine_rabbitmq(self, rabbitmq: impl Into<RabbitMq>) -> Result<Vec<Finding>, Error> {
        let queues = self.consumed_queues().await?.into_iter().collect();
        let processes = self.processes().await?;
        let by_rabbitmq = processes.into_iter().filter(|process| process.transport == "rabbitmq");
        let mut exchanges: Vec<_> = by_rabbitmq.flat_map(|process| process.exchanges).collect();
        exchanges.sort_unstable();
        exchanges.dedup();
        let noticed = rabbitmq.into().inspect(&Wanted { queues, exchanges }).await?;
        Ok(noticed.into_iter().map(Finding::from).collect())
    }
}

impl From<Noticed> for Finding {
    fn from(Noticed { what, evidence, remedy }: Noticed) -> Self {
        Self { what, evidence, remedy }
    }
}
