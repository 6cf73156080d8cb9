//! Calls whose transaction is their caller's to commit.
//!
//! Their fences are read, many calls in one statement, until the row is there. Nothing is closed meanwhile: the caller may
//! take its time, and a tombstone would wait for every open transaction. Who has waited for `check_after` is asked about
//! like everybody else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::asker::Asker;
use super::fence::{UnresolvedHalf, Verdicts, settle_own};
use crate::call::live::LiveCall;
use crate::fence::verdict::Verdict;
use crate::message::{CallId, FenceId};
use crate::worker::panic_text;

/// The first pause between two reads of a fence, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// Calls in one statement.
const BATCH: usize = 256;

/// The calls that wait. They stay here while their fence is read, so that none is forgotten over a panic.
#[derive(Debug, Default)]
pub(super) struct AwaitedCommits {
    calls: HashMap<CallId, Awaited>,
    /// When they are read next.
    order: BTreeSet<(Instant, CallId)>,
    reading: JoinSet<(FenceId, Verdicts<(CallId, Verdict)>)>,
    /// Brings what was read to the store, which may be away.
    settling: JoinSet<()>,
}

#[derive(Debug)]
struct Awaited {
    call: Arc<LiveCall>,
    next: Instant,
    pause: Duration,
    until: Instant,
}

impl AwaitedCommits {
    /// Begins to wait for a call.
    pub(super) fn add(&mut self, call: Arc<LiveCall>) {
        let now = Instant::now();
        let (next, id) = (now + PAUSES.0, call.scope.id());
        let until = now + call.check_after;
        self.order.insert((next, id));
        self.calls.insert(id, Awaited { call, next, pause: PAUSES.0, until });
    }

    /// When fences are to be read next; not while some are being read.
    pub(super) fn due(&self) -> Option<Instant> {
        self.order.first().map(|(next, _)| *next).filter(|_| self.reading.is_empty())
    }

    /// Reads the fences of those whose pause is over. Returns the calls that have waited long enough.
    pub(super) fn read_due(&mut self, asker: &Arc<Asker>) -> Vec<Arc<LiveCall>> {
        let now = Instant::now();
        let due: Vec<_> = self.order.iter().take_while(|(next, _)| *next <= now).map(|(_, id)| *id).collect();
        let is_over = |id: &CallId| self.calls.get(id).is_some_and(|one| one.until <= now);
        let (over, open): (Vec<_>, _) = due.into_iter().partition(is_over);
        self.read(asker, &open);
        over.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Reads the fences of all.
    pub(super) fn read_all(&mut self, asker: &Arc<Asker>) {
        let all: Vec<_> = self.calls.keys().copied().collect();
        self.read(asker, &all);
    }

    fn read(&mut self, asker: &Arc<Asker>, ids: &[CallId]) {
        let mut by_fence: HashMap<FenceId, Vec<CallId>> = HashMap::new();
        for id in ids {
            let Some(one) = self.calls.get_mut(id) else { continue };
            self.order.remove(&(one.next, *id));
            one.pause = (one.pause * 2).min(PAUSES.1);
            one.next = Instant::now() + one.pause;
            self.order.insert((one.next, *id));
            if let Some(fence) = one.call.fence() {
                by_fence.entry(fence).or_default().push(*id);
            }
        }
        for (fence, ids) in by_fence {
            let asker = Arc::clone(asker);
            self.reading.spawn(async move { (fence, read(&asker, fence, &ids).await) });
        }
    }

    /// Waits until fences have been read, and settles the calls whose row is there; `None` when nothing is under way.
    pub(super) async fn goes_on(&mut self, asker: &Arc<Asker>) -> Option<()> {
        let rows = tokio::select! {
            Some(rows) = self.reading.join_next() => rows.map(Some),
            Some(settled) = self.settling.join_next() => settled.map(|()| None),
            else => return None,
        };
        match rows {
            Ok(Some((fence, rows))) => self.settle(asker, fence, rows),
            Ok(None) => {}
            Err(failed) => {
                if let Ok(panic) = failed.try_into_panic() {
                    tracing::error!(panic = panic_text(panic.as_ref()), "reading a fence panicked");
                }
            }
        }
        Some(())
    }

    fn settle(&mut self, asker: &Arc<Asker>, fence: FenceId, rows: Verdicts<(CallId, Verdict)>) {
        let Verdicts { undisturbed_since, of: rows } = rows;
        let (mut halves, mut verdicts) = (Vec::new(), Vec::new());
        for (id, verdict) in rows {
            // A number that nobody knows is asked about in the end.
            let Some(call) = verdict.event().and_then(|_| self.remove(id)) else { continue };
            // From here on anybody may ask, should we not come to an end.
            asker.held.let_go(call.ids());
            for half in &call.halves {
                halves.push(UnresolvedHalf {
                    half: Arc::clone(half),
                    held_by: asker.held.token(),
                    attempts: 0,
                    committed: false,
                });
                verdicts.push(verdict.clone());
            }
        }
        if !halves.is_empty() {
            let asker = Arc::clone(asker);
            let verdicts = Verdicts { undisturbed_since, of: verdicts };
            self.settling.spawn(async move { settle_own(&asker, fence, halves, verdicts).await });
        }
    }

    fn remove(&mut self, id: CallId) -> Option<Arc<LiveCall>> {
        let one = self.calls.remove(&id)?;
        self.order.remove(&(one.next, id));
        Some(one.call)
    }

    /// Waits for nobody any more.
    pub(super) fn take(&mut self) -> Vec<Arc<LiveCall>> {
        self.order.clear();
        std::mem::take(&mut self.calls).into_values().map(|one| one.call).collect()
    }
}

/// What a fence says about those whose row is there.
async fn read(asker: &Asker, identity: FenceId, ids: &[CallId]) -> Verdicts<(CallId, Verdict)> {
    let mut read = Verdicts { undisturbed_since: asker.held.store().troubles(), of: Vec::new() };
    let Some(fence) = asker.fences.by_identity(identity) else { return read };
    for ids in ids.chunks(BATCH) {
        match fence.find_rows(identity, ids).await {
            Ok(found) => read.of.extend(found),
            Err(error) => {
                tracing::debug!(%error, "a fence could not be read; it is read again");
                break;
            }
        }
    }
    read
}
