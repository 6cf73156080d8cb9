//! What a round of the janitor found, and what an operator is told of it.

/// What one round found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Finished messages that were deleted.
    pub(super) pruned: u64,
    /// Halves that nobody answered for in all the time in which they are asked about.
    pub(super) parked: usize,
    /// Old fence rows whose message the store does not know: they are kept.
    pub(super) unknown_fences: usize,
    /// Due halves that this process can't ask about, by who could.
    pub(super) unanswerable: Vec<(String, u64)>,
    /// Other services whose messages no process takes up, and how many have been due for long.
    pub(super) forsaken: Vec<(String, u64)>,
}

impl Findings {
    /// Tells what has changed since the last round: the same is not told every minute.
    pub(super) fn tell(&self, last: &Self) {
        tracing::debug!(pruned = self.pruned, parked = self.parked, "a round of the janitor");
        if self.unknown_fences > 0 && self.unknown_fences != last.unknown_fences {
            tracing::warn!(
                count = self.unknown_fences,
                "fence rows whose message the store does not know; they are kept"
            );
        }
        for (name, count) in self.unanswerable.iter().filter(|one| !last.unanswerable.contains(one)) {
            tracing::warn!(
                answered_by = name,
                count,
                "half messages wait for an answer that this process can't give; if no other process has that handler \
                 or fence, add it, or use `MessengerBuilder::alias` for a handler that was renamed"
            );
        }
        for (service, count) in &self.forsaken {
            if !last.forsaken.iter().any(|(told, _)| told == service) {
                tracing::warn!(
                    service,
                    count,
                    "messages of the service `{service}` have been due for more than a minute, and no process of it takes \
                     them up: start one, or, if the service has another name now, add `.service_alias(\"{service}\")` to \
                     its builder"
                );
            }
        }
    }
}
