//! Calls whose transaction is their caller's to commit.
//!
//! Their fences are read, many calls in one statement, until the row is there. Nothing is closed meanwhile: the caller may
//! take its time, and a tombstone would wait for every open transaction. Who has waited for `check_after` is asked about
//! like everybody else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::asker::Asker;
use super::fence::{UnresolvedHalf, apply_verdicts};
use crate::call::live::LiveCall;
use crate::message::{CallId, FenceId};

/// The first pause between two reads of a fence, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// The calls that wait, by when they are read next.
#[derive(Debug, Default)]
pub(super) struct AwaitedCommits {
    waiting: BTreeMap<(Instant, CallId), Awaited>,
    /// Each says which of its calls have no row yet.
    reading: JoinSet<Vec<Awaited>>,
}

#[derive(Debug)]
struct Awaited {
    call: Arc<LiveCall>,
    pause: Duration,
    until: Instant,
}

impl AwaitedCommits {
    /// Begins to wait for a call.
    pub(super) fn add(&mut self, call: Arc<LiveCall>) {
        let until = Instant::now() + call.check_after;
        self.wait(Awaited { call, pause: PAUSES.0, until });
    }

    fn wait(&mut self, awaited: Awaited) {
        let next = (Instant::now() + awaited.pause).min(awaited.until);
        self.waiting.insert((next, awaited.call.call_id()), awaited);
    }

    /// When the next fence is to be read.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((next, _), _)| *next)
    }

    /// Reads the fences of those whose pause is over.
    pub(super) fn read_due(&mut self, asker: &Arc<Asker>) {
        let later = self.waiting.split_off(&(Instant::now(), CallId::from_uuid(Uuid::max())));
        self.read(asker, later);
    }

    /// Reads the fences of all.
    pub(super) fn read_all(&mut self, asker: &Arc<Asker>) {
        self.read(asker, BTreeMap::new());
    }

    fn read(&mut self, asker: &Arc<Asker>, later: BTreeMap<(Instant, CallId), Awaited>) {
        let mut by_fence: HashMap<FenceId, Vec<Awaited>> = HashMap::new();
        for awaited in std::mem::replace(&mut self.waiting, later).into_values() {
            if let Some(fence) = awaited.call.fence() {
                by_fence.entry(fence).or_default().push(awaited);
            }
        }
        for (fence, awaited) in by_fence {
            let asker = Arc::clone(asker);
            self.reading.spawn(async move { read(&asker, fence, awaited).await });
        }
    }

    /// Waits until fences have been read; `None` when none is being read. Returns the calls that have waited long enough.
    pub(super) async fn were_read(&mut self) -> Option<Vec<Arc<LiveCall>>> {
        let open = self.reading.join_next().await?.unwrap_or_default();
        let (over, open): (Vec<_>, _) = open.into_iter().partition(|one| one.until <= Instant::now());
        for one in open {
            self.wait(one);
        }
        Some(over.into_iter().map(|one| one.call).collect())
    }

    /// Waits for nobody any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Arc<LiveCall>> {
        std::mem::take(&mut self.waiting).into_values().map(|one| one.call)
    }
}

/// Reads a fence, and settles the calls whose row is there. Returns the others.
async fn read(asker: &Asker, identity: FenceId, mut awaited: Vec<Awaited>) -> Vec<Awaited> {
    let Some(fence) = asker.fences.by_identity(identity) else { return awaited };
    let ids: Vec<_> = awaited.iter().map(|one| one.call.call_id()).collect();
    let mut rows: HashMap<_, _> = match fence.find_rows(identity, &ids).await {
        Ok(rows) => rows.into_iter().collect(),
        Err(error) => {
            tracing::debug!(%error, "a fence could not be read; it is read again");
            HashMap::new()
        }
    };
    let (mut halves, mut verdicts) = (Vec::new(), Vec::new());
    awaited.retain(|Awaited { call, .. }| {
        // A number that nobody knows is asked about in the end.
        let Some(verdict) = rows.remove(&call.call_id()).filter(|one| one.event().is_some()) else {
            return true;
        };
        asker.held.let_go(call.ids());
        for half in &call.halves {
            halves.push(UnresolvedHalf { half: Arc::clone(half), held_by: asker.held.token(), attempts: 0 });
            verdicts.push(verdict.clone());
        }
        false
    });
    apply_verdicts(asker, halves, verdicts, true).await;
    for awaited in &mut awaited {
        awaited.pause = (awaited.pause * 2).min(PAUSES.1);
    }
    awaited
}
