//! Named points at which a test kills or freezes the process, and bugs that a test plants: to see
//! that nothing is lost, and that it would be noticed.
//!
//! Without the feature `fault-points` a point is nothing, and no bug is there.

#[cfg(feature = "fault-points")]
pub use armed::{BUGS, Fault, FaultKind, POINTS, arm, bug, is_lost, pending, point};

/// Marks a point.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn point(_name: &'static str) {}

/// Makes a point of every moment at which `future` waits: a request is sent, its answer unread.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn pending<F: Future>(_name: &'static str, future: F) -> F {
    future
}

/// Whether the reply that has come at a point is lost before anybody reads it.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn is_lost(_name: &'static str) -> bool {
    false
}

/// Whether a bug is planted.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn bug(_name: &'static str) -> bool {
    false
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::collections::VecDeque;
    use std::pin::pin;
    use std::process::{Command, id};
    use std::str::FromStr;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Every point, in the order in which a message passes them. What ends with `-sent` is passed
    /// whenever the process waits for the answer.
    pub const POINTS: [&str; 21] = [
        "before-half",
        "half-sent",
        "after-half",
        "fence-inserted",
        "mid-body",
        "commit-sent",
        "committed",
        "confirm-sent",
        "confirmed",
        "claimed",
        "published",
        "acked",
        "mark-sent",
        "marked",
        "received",
        "effect-done",
        "inbox-commit-sent",
        "inbox-committed",
        "tombstone-sent",
        "tombstone-in",
        "janitor-between",
    ];

    /// Every bug that can be planted, by `TM_BUG=<name>`.
    pub const BUGS: [&str; 19] = [
        "mark-before-ack",
        "ack-before-commit",
        "inbox-apart",
        "no-probe",
        "cancel-on-err",
        "unconditional",
        "returns-ignored",
        "returns-believed",
        "not-closed",
        "fence-pruned",
        "fence-read",
        "all-blamed",
        "never-suspected",
        "autocommit-kept",
        "withhold-survives",
        "decided-survives",
        "decided-share-a-row",
        "answer-forgotten",
        "counted-at-the-claim",
    ];

    /// What a fault does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FaultKind {
        /// `SIGKILL`: the process has no chance to clean up.
        Die,
        /// `SIGSTOP`: it stands still, as when its machine is paused, until it gets `SIGCONT`.
        Freeze,
        /// What was sent took effect, and its reply is lost, as when a connection is cut behind a `COMMIT`.
        Lose,
    }

    /// `die@published:3`: what happens at which visit to a point.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Fault {
        /// What happens.
        pub fate: FaultKind,
        /// Where, out of [`POINTS`].
        pub point: String,
        /// At which visit, from 1.
        pub visit: u32,
    }

    impl FromStr for Fault {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let wrong =
                || format!("a fault looks like `die@published:3` or `freeze@committed:1`, not `{text}`");
            let (fate, rest) = text.split_once('@').ok_or_else(wrong)?;
            let (point, visit) = rest.split_once(':').ok_or_else(wrong)?;
            let fate = match fate {
                "die" => FaultKind::Die,
                "freeze" => FaultKind::Freeze,
                "lose" => FaultKind::Lose,
                _ => return Err(wrong()),
            };
            if !POINTS.contains(&point) {
                return Err(format!("there is no point `{point}`; there are {}", POINTS.join(", ")));
            }
            let visit = visit.parse().ok().filter(|visit| *visit > 0).ok_or_else(wrong)?;
            Ok(Self { fate, point: point.to_owned(), visit })
        }
    }

    impl std::fmt::Display for Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let fate = match self.fate {
                FaultKind::Die => "die",
                FaultKind::Freeze => "freeze",
                FaultKind::Lose => "lose",
            };
            write!(f, "{fate}@{}:{}", self.point, self.visit)
        }
    }

    static ARMED: Mutex<VecDeque<Fault>> = Mutex::new(VecDeque::new());
    static BUG: OnceLock<Option<String>> = OnceLock::new();

    /// From now on, waits for these faults, one after the other.
    pub fn arm(faults: impl IntoIterator<Item = Fault>) {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// Marks a point, and strikes here if it was asked for.
    ///
    /// # Panics
    /// When the process can't be killed.
    pub fn point(name: &'static str) {
        visit(name, |fate| fate != FaultKind::Lose, strike);
    }

    /// Whether the reply that has come at a point is lost before anybody reads it.
    pub fn is_lost(name: &'static str) -> bool {
        let mut lost = false;
        visit(name, |fate| fate == FaultKind::Lose, |_| lost = true);
        lost
    }

    /// Counts a visit to a point that has a fault of this kind next, and lets it happen if it is time.
    fn visit(name: &'static str, is_kind: impl Fn(FaultKind) -> bool, happen: impl FnOnce(FaultKind)) {
        debug_assert!(POINTS.contains(&name), "`{name}` is not in the list of points");
        // Locked until it has happened: nobody else comes to a point meanwhile.
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |next: &&mut Fault| next.point == name && is_kind(next.fate);
        let Some(next) = armed.front_mut().filter(is_it) else { return };
        next.visit -= 1;
        if next.visit == 0 {
            happen(next.fate);
            armed.pop_front();
        }
    }

    fn strike(fate: FaultKind) {
        let signal = match fate {
            FaultKind::Die => "-KILL",
            FaultKind::Freeze => "-STOP",
            FaultKind::Lose => return,
        };
        let sent = Command::new("kill").arg(signal).arg(id().to_string()).status();
        assert!(fate == FaultKind::Freeze && sent.is_ok_and(|sent| sent.success()), "`kill {signal}` failed");
    }

    /// Makes a point of every moment at which `future` waits: a request is sent, its answer unread.
    pub async fn pending<F: Future>(name: &'static str, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                point(name);
            }
            polled
        })
        .await
    }

    /// Whether a bug is planted.
    ///
    /// # Panics
    /// When `TM_BUG` is none of [`BUGS`].
    pub fn bug(name: &'static str) -> bool {
        debug_assert!(BUGS.contains(&name), "`{name}` is not in the list of bugs");
        let planted = BUG.get_or_init(|| {
            let planted = std::env::var("TM_BUG").ok()?;
            assert!(BUGS.contains(&planted.as_str()), "TM_BUG is none of {}", BUGS.join(", "));
            Some(planted)
        });
        planted.as_deref() == Some(name)
    }
}
