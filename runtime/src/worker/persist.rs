//! Brings to the store what must not be forgotten: tries until the store has it.

use crate::core::Core;
use crate::message::state::{Applied, Event, State};
use crate::store::{Change, Hold, StoreError};

use super::log_store_error;

/// Applies `event`, and lets go of the rows. A batch that the store refuses is run row by row, so
/// that a poison row fails alone; such a row counts as decided before.
///
/// Rows that are confirmed for anybody, with no `hold`, are let go of before: this process, too, may
/// claim them as soon as they are there.
pub(super) async fn persist(
    core: &Core,
    worker: &'static str,
    event: Event,
    changes: &[Change],
    hold: Option<Hold>,
) -> Vec<Applied> {
    if changes.is_empty() {
        return Vec::new();
    }
    let ids = || changes.iter().map(|change| &change.id);
    let for_anybody = event.target() == State::Confirmed && hold.is_none();
    if for_anybody {
        core.leases.let_go(ids());
    }
    let applied = match until_stored(core, worker, || core.store.transition(event, changes, hold)).await {
        Some(applied) => applied,
        None if changes.len() == 1 => vec![Applied::Already],
        None => {
            let mut applied = Vec::with_capacity(changes.len());
            for row in changes.chunks(1) {
                let one = until_stored(core, worker, || core.store.transition(event, row, hold)).await;
                applied.push(one.and_then(|one| one.first().copied()).unwrap_or(Applied::Already));
            }
            applied
        }
    };
    if !for_anybody {
        core.leases.let_go(ids());
    }
    applied
}

/// Tries until the store answers. `None`: it refused, and will refuse again.
pub(super) async fn until_stored<T, F, Fut>(core: &Core, worker: &'static str, attempt: F) -> Option<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut tries = 0;
    loop {
        match attempt().await {
            Ok(value) => return Some(value),
            Err(error) => {
                log_store_error(worker, &error);
                if matches!(error, StoreError::Refused(_)) {
                    return None;
                }
            }
        }
        tokio::time::sleep(core.settings.report_backoff.delay(tries)).await;
        tries = tries.saturating_add(1);
    }
}
