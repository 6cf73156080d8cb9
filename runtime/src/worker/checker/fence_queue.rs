//! Queues before the fences: each fence is asked one question at a time, about many calls, in a task of its own. So one
//! that does not answer keeps nothing else waiting.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::asker::Asker;
use super::fence::{UnresolvedHalf, ask_fence, settle_claimed, settle_own};
use crate::call::live::LiveCall;
use crate::message::FenceId;
use crate::worker::panic_text;

/// The fences that are, or were, asked by this process.
#[derive(Debug, Default)]
pub(crate) struct FenceQueues {
    queues: HashMap<FenceId, Arc<FenceQueue>>,
    /// Each says whether there may be more like what it was about.
    questions: JoinSet<bool>,
}

#[derive(Debug, Default)]
struct FenceQueue {
    turn: tokio::sync::Mutex<()>,
    /// This process's own calls: whoever has the next turn asks about all of them.
    calls: Mutex<Vec<Arc<LiveCall>>>,
}

impl FenceQueues {
    /// Whether a fence is not being asked.
    pub(super) fn is_free(&self, fence: FenceId) -> bool {
        self.queues.get(&fence).is_none_or(|queue| queue.turn.try_lock().is_ok())
    }

    /// Asks about halves that were claimed.
    pub(super) fn ask(
        &mut self,
        asker: &Arc<Asker>,
        fence: FenceId,
        halves: Vec<UnresolvedHalf>,
        more: bool,
    ) {
        let (asker, queue) = (Arc::clone(asker), self.queue(fence));
        self.questions.spawn(async move {
            let turn = queue.turn.lock().await;
            let verdicts = ask_fence(&asker, fence, &halves).await;
            drop(turn);
            settle_claimed(&asker, halves, verdicts).await;
            more
        });
    }

    /// Asks about a call that this process holds, together with others that wait for the same fence.
    pub(super) fn ask_own(&mut self, asker: &Arc<Asker>, fence: FenceId, call: Arc<LiveCall>) {
        let (asker, queue) = (Arc::clone(asker), self.queue(fence));
        let is_first = {
            let mut calls = queue.calls();
            calls.push(call);
            calls.len() == 1
        };
        if is_first {
            self.questions.spawn(async move {
                let turn = queue.turn.lock().await;
                let calls = mem::take(&mut *queue.calls());
                let held_by = asker.held.token();
                let halves = calls.iter().flat_map(|call| {
                    let committed = call.scope.has_committed();
                    let unresolved = move |half| UnresolvedHalf {
                        half: Arc::clone(half),
                        held_by,
                        attempts: 0,
                        committed,
                    };
                    call.halves.iter().map(unresolved)
                });
                let halves: Vec<_> = halves.collect();
                let verdicts = ask_fence(&asker, fence, &halves).await;
                // The store may be away: then the next question to this fence does not wait for it.
                drop(turn);
                settle_own(&asker, fence, halves, verdicts).await;
                false
            });
        }
    }

    /// Waits until a question is answered, and says whether there may be more like it; `None` when
    /// none is asked.
    pub(super) async fn answered(&mut self) -> Option<bool> {
        Some(match self.questions.join_next().await? {
            Ok(more) => more,
            Err(failed) => {
                if let Ok(panic) = failed.try_into_panic() {
                    tracing::error!(panic = panic_text(panic.as_ref()), "asking a fence panicked");
                }
                false
            }
        })
    }

    fn queue(&mut self, fence: FenceId) -> Arc<FenceQueue> {
        Arc::clone(self.queues.entry(fence).or_default())
    }
}

impl FenceQueue {
    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<Arc<LiveCall>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
