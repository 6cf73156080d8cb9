//! Lines before the fences: each fence is asked one question at a time, about many calls, in a task of
//! its own. So one that does not answer keeps nobody waiting but those who have no other.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::panic_text;
use super::question::{Suspect, apply_verdicts, ask_fence};
use crate::core::Core;
use crate::protocol::LiveCall;

/// The fences that are, or were, asked by this process.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: HashMap<Uuid, Arc<Line>>,
    /// Each says whether there may be more like what it was about.
    questions: JoinSet<bool>,
}

#[derive(Debug, Default)]
struct Line {
    turn: tokio::sync::Mutex<()>,
    /// This process's own calls: whoever has the next turn asks about all of them.
    calls: Mutex<Vec<Arc<LiveCall>>>,
}

impl Lines {
    /// Whether a fence is not being asked.
    pub(super) fn is_free(&self, fence: Uuid) -> bool {
        self.lines.get(&fence).is_none_or(|line| line.turn.try_lock().is_ok())
    }

    /// Asks about halves that were claimed.
    pub(super) fn ask(&mut self, core: &Arc<Core>, fence: Uuid, suspects: Vec<Suspect>, more: bool) {
        let (core, line) = (Arc::clone(core), self.line(fence));
        self.questions.spawn(async move {
            let turn = line.turn.lock().await;
            let verdicts = ask_fence(&core, fence, &suspects).await;
            drop(turn);
            apply_verdicts(&core, suspects, verdicts, false).await;
            more
        });
    }

    /// Asks about a call that this process holds, together with others that wait for the same fence.
    pub(super) fn ask_own(&mut self, core: &Arc<Core>, fence: Uuid, call: Arc<LiveCall>) {
        let (core, line) = (Arc::clone(core), self.line(fence));
        let is_first = {
            let mut calls = line.calls();
            calls.push(call);
            calls.len() == 1
        };
        if is_first {
            self.questions.spawn(async move {
                let turn = line.turn.lock().await;
                let calls = mem::take(&mut *line.calls());
                let held_by = core.leases.token();
                let halves = calls.iter().flat_map(|call| &call.halves);
                let suspect = |half| Suspect { half: Arc::clone(half), held_by, attempts: 0 };
                let suspects: Vec<_> = halves.map(suspect).collect();
                let verdicts = ask_fence(&core, fence, &suspects).await;
                // The store may be away: then the next question to this fence does not wait for it.
                drop(turn);
                apply_verdicts(&core, suspects, verdicts, true).await;
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

    fn line(&mut self, fence: Uuid) -> Arc<Line> {
        Arc::clone(self.lines.entry(fence).or_default())
    }
}

impl Line {
    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<Arc<LiveCall>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
