//! The gate for suspects: messages whose last handling may have killed a process.
//!
//! A handler that kills its process takes down all that run beside it, and nothing shows which one it was.
//! So what comes back from such an end runs alone in its process: if the process dies again, the blame is
//! certain.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Handlers run beside each other, suspects alone. Shared by all consumers and the checker of a messenger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alone(Arc<RwLock<()>>);

/// Held by a handler while it runs.
pub(crate) type BesideOthers = OwnedRwLockReadGuard<()>;

/// Held by a suspect while it runs.
pub(crate) type ByItself = OwnedRwLockWriteGuard<()>;

impl Alone {
    /// Waits until no suspect runs. Cancel safe.
    pub(crate) async fn beside_others(&self) -> BesideOthers {
        Arc::clone(&self.0).read_owned().await
    }

    /// Waits until nothing runs, and lets nothing begin meanwhile: handlers have time-outs, so the wait has an
    /// end. Cancel safe.
    pub(crate) async fn by_itself(&self) -> ByItself {
        Arc::clone(&self.0).write_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_suspect_runs_while_nothing_else_does() {
        let gate = Alone::default();
        let one = gate.beside_others().await;
        let other = gate.beside_others().await;
        let mut suspect = Box::pin(gate.by_itself());
        assert!(suspect.as_mut().now_or_never().is_none(), "two handlers are running");
        drop(one);
        let mut late = Box::pin(gate.beside_others());
        assert!(late.as_mut().now_or_never().is_none(), "the suspect came first");
        drop(other);
        let alone = suspect.await;
        assert!(late.as_mut().now_or_never().is_none(), "the suspect is running");
        drop(alone);
        late.await;
    }
}
