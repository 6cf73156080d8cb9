//! A messenger as its calls see it, and which one a call goes to.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;

use super::admission::Admission;
use super::group_commit::GroupCommit;
use super::live::Report;
use crate::check_back::registry::Registry;
use crate::error::{Error, ErrorKind};
use crate::fence::registry::Fences;
use crate::held::HeldStore;
use crate::message::service::Services;
use crate::settings::Settings;
use crate::transport::Transport;

tokio::task_local! {
    static IN_SCOPE: Calls;
}
static GLOBAL: RwLock<Option<Calls>> = RwLock::new(None);

/// A cheap handle. The messenger's workers are there as long as somebody has one.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
    _workers: Arc<dyn Any + Send + Sync>,
}

/// What calls need.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) services: Services,
    pub(crate) held: HeldStore,
    /// The way of half messages to the store.
    pub(crate) group_commit: Arc<GroupCommit>,
    pub(crate) fences: Arc<Fences>,
    pub(crate) handlers: Arc<Registry>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admission: Arc<Admission>,
    /// To the reporter. Not bounded by itself: there are only as many reports as bodies that could be started, and none
    /// starts while the store does not take halves.
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

impl Deref for Calls {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Calls {
    pub(crate) fn new(shared: Shared, workers: Arc<dyn Any + Send + Sync>) -> Self {
        Self { shared: Arc::new(shared), _workers: workers }
    }

    /// The same for those that must not keep the workers there.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes all annotated functions that are given no other messenger.
    pub(crate) fn install_global(&self) -> Result<(), Error> {
        let mut global = GLOBAL.write().unwrap_or_else(PoisonError::into_inner);
        if global.is_some() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "a global messenger is installed already: a process has one; use `Messenger::scope` for others",
            ));
        }
        *global = Some(self.clone());
        Ok(())
    }

    /// The same instead of the one that does so now, until the guard is dropped.
    #[cfg(feature = "testing")]
    pub(crate) fn replace_global(&self) -> ReplacedGlobal {
        ReplacedGlobal(swap_global(Some(self.clone())))
    }

    /// Takes the annotated functions in `future`.
    pub(crate) async fn scope<F: Future>(&self, future: F) -> F::Output {
        IN_SCOPE.scope(self.clone(), future).await
    }

    /// Hands a report to the reporter. Without one (after the shutdown) check-back settles the call.
    pub(super) fn report(&self, report: Report) {
        if self.reports.send(report).is_err() {
            tracing::debug!("a call ended after the shutdown; check-back will settle it");
        }
    }
}

fn global() -> Option<Calls> {
    GLOBAL.read().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(feature = "testing")]
fn swap_global(calls: Option<Calls>) -> Option<Calls> {
    std::mem::replace(&mut *GLOBAL.write().unwrap_or_else(PoisonError::into_inner), calls)
}

/// While this lives, another messenger is the global one: see
/// [`Messenger::replace_global`](crate::Messenger::replace_global).
#[cfg(feature = "testing")]
#[derive(Debug)]
#[must_use = "dropped, it puts the former global messenger back"]
pub struct ReplacedGlobal(Option<Calls>);

#[cfg(feature = "testing")]
impl Drop for ReplacedGlobal {
    fn drop(&mut self) {
        drop(swap_global(self.0.take()));
    }
}

/// The messenger in scope.
pub(crate) fn in_scope() -> Option<Calls> {
    IN_SCOPE.try_with(Calls::clone).ok()
}

/// The messenger in scope, or the global one.
pub(super) fn current() -> Result<Calls, Error> {
    in_scope().or_else(global).ok_or_else(|| {
        Error::new(
            ErrorKind::NoMessenger,
            "no messenger is installed: call `Messenger::install_global` at start, or run the call inside \
             `messenger.scope(..)`",
        )
    })
}
