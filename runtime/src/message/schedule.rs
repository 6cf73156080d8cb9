//! When a message may be delivered: not before, and not after.

use std::time::{Duration, Instant, SystemTime};

/// The longest delay, and the longest time to expiry: ten years.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// When a message may be delivered. As a rule at once, and at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) not_before: Option<NotBefore>,
    /// Counted from when it may first be delivered.
    pub(crate) expires_in: Option<Duration>,
}

/// From when on a message may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotBefore {
    /// So long after it was stored.
    After(Duration),
    At(SystemTime),
}

impl Schedule {
    /// How much longer it may not be delivered, if it is to be stored now. By the sender's clock where it was told a time:
    /// the store's clock counts only how long that is.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.not_before.map(|not_before| match not_before {
            NotBefore::After(delay) => delay,
            NotBefore::At(time) => time.duration_since(SystemTime::now()).unwrap_or_default(),
        })
    }

    /// The same, and no delay where it is over already: what waits for nothing is not put by to wait.
    pub(crate) fn without_past(mut self) -> Self {
        if self.delay().is_some_and(|delay| delay.is_zero()) {
            self.not_before = None;
        }
        self
    }

    /// How much later than when it is stored it expires.
    pub(crate) fn expires_after(&self) -> Option<Duration> {
        Some(self.delay().unwrap_or_default() + self.expires_in?)
    }

    /// When a copy in memory expires.
    pub(crate) fn expiry(&self) -> Option<Instant> {
        self.expires_after().map(|after| Instant::now() + after)
    }

    /// The time at which it falls due, of a message that was stored.
    pub(crate) const fn due(&self) -> Option<SystemTime> {
        match self.not_before {
            Some(NotBefore::At(time)) => Some(time),
            _ => None,
        }
    }

    /// Says what is wrong with it, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.delay().is_some_and(|delay| delay > LONGEST) {
            return Err("it is to be delivered in more than ten years".into());
        }
        match self.expires_in {
            Some(Duration::ZERO) => Err("its `expires_in` is 0: it could never be delivered".into()),
            Some(time) if time > LONGEST => Err("its `expires_in` is more than ten years".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn after(delay: Duration, expires_in: Option<Duration>) -> Schedule {
        Schedule { not_before: Some(NotBefore::After(delay)), expires_in }
    }

    #[test]
    fn a_time_that_is_past_is_no_delay() {
        let at = |time| Schedule { not_before: Some(NotBefore::At(time)), ..Schedule::default() };
        assert_eq!(at(SystemTime::now() - MINUTE).delay(), Some(Duration::ZERO));
        let delay = at(SystemTime::now() + MINUTE).delay().expect("a delay");
        assert!(delay <= MINUTE && delay > MINUTE / 2);
        assert_eq!(Schedule::default().delay(), None);
    }

    #[test]
    fn it_expires_counted_from_when_it_may_be_delivered() {
        assert_eq!(after(MINUTE, Some(MINUTE)).expires_after(), Some(2 * MINUTE));
        assert_eq!(after(MINUTE, None).expires_after(), None);
        let at_once = Schedule { expires_in: Some(MINUTE), ..Schedule::default() };
        assert_eq!(at_once.expires_after(), Some(MINUTE));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let refused = |schedule: Schedule| schedule.check().expect_err("accepted");
        assert!(refused(after(Duration::MAX, None)).contains("ten years"));
        assert!(refused(after(MINUTE, Some(Duration::ZERO))).contains("`expires_in` is 0"));
        assert!(refused(after(MINUTE, Some(Duration::MAX))).contains("`expires_in` is more"));
        assert_eq!(after(MINUTE, Some(MINUTE)).check(), Ok(()));
    }
}
