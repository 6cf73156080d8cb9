//! What the relay reads from the table: messages that nobody holds.

use std::time::Instant;

use super::outcomes::bury;
use super::slots::Memory;
use crate::fault;
use crate::held::HeldStore;
use crate::message::service::Services;
use crate::store::{Claim, ClaimLimits, StoreError};
use crate::telemetry::catalogue::{DELIVERY_DELAY, PUBLISH_DURATION};
use crate::telemetry::labels::RelayPath;
use crate::transport::Outgoing;

/// What was read from the table.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<InFlight>,
    /// As many as may be.
    pub(super) full: bool,
}

/// A message that is ours. Forgotten when its publish ends without a word, as by a panic, it lapses
/// and comes again.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) held: HeldStore,
    pub(super) outgoing: Outgoing,
    /// Which way it came, and since when it was to be delivered.
    pub(super) path: RelayPath,
    pub(super) since: Option<Instant>,
    /// Of what did not come from the table.
    pub(super) memory: Option<Memory>,
    pub(super) settled: bool,
}

impl InFlight {
    /// The transport has it, which was sent it then.
    pub(super) fn note_delivery(&self, sent: Instant) {
        let exchange = &self.outgoing.half.message.exchange;
        PUBLISH_DURATION.one(exchange).record(sent.elapsed());
        if let Some(since) = self.since {
            DELIVERY_DELAY.at(self.path).record(since.elapsed());
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.settled {
            self.held.let_go([self.outgoing.half.id]);
        }
    }
}

/// The table, as the relay reads it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) held: HeldStore,
    pub(super) services: Services,
    /// The most that is read at once.
    pub(super) bytes: usize,
}

impl Source {
    /// Takes confirmed messages that nobody holds.
    pub(super) async fn claim(&self, rows: usize) -> Result<Batch, StoreError> {
        let (held, leases) = (&self.held, self.held.leases());
        let limits = ClaimLimits {
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            bytes: self.bytes,
            lapsed_before: leases.lapsed_before(),
        };
        let deadline = leases.deadline();
        let Claim { rows, undecodable } =
            held.store().claim_confirmed(self.services.names(), limits, held.hold()).await?;
        let full = rows.len() as u64 >= u64::from(limits.rows);
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            // Ours already, by a lease that lapsed in an outage: it is being published right now.
            if leases.holds(&row.half.id) {
                continue;
            }
            leases.took([row.half.id], deadline);
            // The table does not say when it was confirmed.
            let late = row.half.message.schedule.due().and_then(|due| due.elapsed().ok());
            let since = Instant::now().checked_sub(late.map_or(row.age, |late| late.min(row.age)));
            let outgoing = Outgoing {
                attempt: row.attempts.saturating_add(1),
                suspect: row.taken_over.is_some(),
                half: row.half,
            };
            let (path, memory) = (RelayPath::Table, None);
            messages.push(InFlight { held: held.clone(), outgoing, path, since, memory, settled: false });
            fault::point("claimed");
        }
        for row in undecodable {
            bury(held, row.id, format!("it can't be read: {}", row.why)).await;
        }
        Ok(Batch { messages, full })
    }
}
