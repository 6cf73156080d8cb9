//! Named points at which a test can kill the process, to see that nothing is lost.
//!
//! Without the feature `fault-points` a point is nothing. With it, `TM_FAULT=published:3` kills
//! the process, without a chance to clean up, the third time it comes to the point `published`.

/// Every point, in the order in which a message passes them.
#[cfg(feature = "fault-points")]
pub const POINTS: [&str; 15] = [
    "before-half",
    "after-half",
    "fence-inserted",
    "mid-body",
    "commit-proven",
    "committed",
    "confirmed",
    "claimed",
    "published",
    "marked",
    "received",
    "effect-done",
    "inbox-committed",
    "tombstone-in",
    "janitor-between",
];

/// Marks a point.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) const fn point(_name: &'static str) {}

/// Marks a point, and kills the process here if it was asked for.
///
/// # Panics
/// When `TM_FAULT` can't be read, or the process can't be killed.
#[cfg(feature = "fault-points")]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let (name, count) =
            std::env::var("TM_FAULT").ok()?.split_once(':').map(|(n, c)| (n.to_owned(), c.parse()))?;
        Some((name, AtomicU32::new(count.expect("TM_FAULT is <point>:<count>"))))
    });
    debug_assert!(POINTS.contains(&name), "`{name}` is not in the list of points");
    if let Some((point, countdown)) = armed
        && point == name
        && countdown.fetch_sub(1, Ordering::SeqCst) == 1
    {
        let kill =
            std::process::Command::new("kill").arg("-KILL").arg(std::process::id().to_string()).status();
        unreachable!("still alive after kill: {kill:?}");
    }
}
