//! Pausing: deliveries to an exchange, the consumer of a queue, check-backs, or everything.

use std::time::Duration;

use super::{Admin, refused};
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::message::{Evidence, Pausable};
use crate::store::{Action, Decision, Pause, StoreError};

/// A pause has an end, for the day on which whoever began it is away.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// How many messages that were put off are made due in one statement.
const WOKEN: u32 = 1000;

impl Admin<'_> {
    /// What is paused now.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn pauses(self) -> Result<Vec<Pause>, Error> {
        let pauses = self.store().pauses().await;
        pauses.map_err(|cause| cause.into_error("what is paused could not be read"))
    }

    /// Pauses something in all processes over the store: within 5 s, for so long, then it goes on by itself. Once more, it sets
    /// the end anew. Meanwhile messages stay half or confirmed, or in their queue, and functions go on storing new ones. A process of a
    /// version that knows no pauses goes on: see [`ProcessInfo`](crate::ProcessInfo).
    ///
    /// Time goes on: a message whose time is over expires; a half message that is older than `check_back_horizon` when check-backs go
    /// on is parked; and a consumer refuses what is older than its `inbox_retention`.
    ///
    /// What is being handled, published or asked is finished. Within a process, a message for several queues waits as long as one
    /// of them is paused.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it would last longer than 30 days, or for no time; [`ErrorKind::Unavailable`].
    pub async fn pause(self, what: &Pausable, lasts: Duration, reason: &str) -> Result<(), Error> {
        if lasts < Duration::from_secs(1) || lasts > LONGEST {
            return Err(refused(format!("a pause lasts from 1 s to 30 days, and not {lasts:?}")));
        }
        let mut decision = self.about(Action::Pause, what, reason);
        let mut paused = self.store().pause(what, lasts, &decision).await;
        while matches!(paused, Err(StoreError::Refused(_))) && decision.simplify() {
            paused = self.store().pause(what, lasts, &decision).await;
        }
        let failed = |cause: StoreError| cause.into_error("nothing was paused");
        paused.map_err(failed)?;
        // Where it ends sooner than it did: what is paused still is put off again.
        self.wake(what).await
    }

    /// Ends a pause, in all processes over the store within 5 s. Says whether there was one.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the pause may have ended; and messages that were put off because of it may wait for its
    /// original end, unless this is called again.
    pub async fn resume(self, what: &Pausable, reason: &str) -> Result<bool, Error> {
        let failed = |cause: StoreError| cause.into_error("not everything goes on");
        let mut decision = self.about(Action::Resume, what, reason);
        let mut resumed = self.store().resume(what, &decision).await;
        while matches!(resumed, Err(StoreError::Refused(_))) && decision.simplify() {
            resumed = self.store().resume(what, &decision).await;
        }
        let was_paused = resumed.map_err(failed)?;
        self.wake(what).await?;
        // The answer to a first try may have been lost.
        Ok(was_paused || self.store().is_recorded(decision.entry.id).await.map_err(failed)?)
    }

    async fn wake(self, what: &Pausable) -> Result<(), Error> {
        loop {
            let woken = self.store().wake(&what.mark(), WOKEN).await;
            if woken
                .map_err(|cause| cause.into_error("what was put off waits for the end that was set before"))?
                == 0
            {
                return Ok(());
            }
        }
    }

    fn about(self, action: Action, what: &Pausable, reason: &str) -> Decision {
        Decision::of(action, self.entry(reason, &Evidence::NoFence).about(what))
    }
}
