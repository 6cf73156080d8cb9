//! Removing dead letters. Each leaves a record first.

use super::{DeadLetter, DeadLetters, Discard, DiscardSummary, MOST_IN_HAND};
use crate::broker::rabbitmq::Queues;
use crate::error::Error;
use crate::store::Action;

impl DeadLetters<'_> {
    /// Removes dead letters for good; `told` hears of each at once. Each leaves a record in the audit, which is written before
    /// it is removed. Ids are looked for among the first 10 000.
    ///
    /// # Errors
    /// As of [`look`](Self::look): what is left behind was in hand. Once it has begun, the summary says why it stopped.
    pub async fn discard(
        &mut self,
        queue: &str,
        which: &Discard,
        reason: &str,
        mut told: impl FnMut(&DeadLetter),
    ) -> Result<DiscardSummary, Error> {
        let queues = Queues::named(queue)?;
        let depth = self.depth_to_take(&queues, queue).await? as usize;
        let (mut wanted, most) = match which {
            Discard::Ids(ids) => (Some(ids.clone()), depth.min(MOST_IN_HAND)),
            Discard::First(most) => (None, depth.min(*most as usize)),
        };
        let mut summary = DiscardSummary::default();
        let ended = async {
            for _ in 0..most {
                if wanted.as_ref().is_some_and(Vec::is_empty) {
                    break;
                }
                let Some(letter) = self.hand.take(&queues).await? else { break };
                if let Some(ids) = &mut wanted {
                    let id = letter.message_id();
                    let Some(at) = ids.iter().position(|wanted| Some(wanted) == id.as_ref()) else {
                        continue;
                    };
                    ids.swap_remove(at);
                }
                self.record(Action::Discard, queue, &letter, reason).await?;
                self.hand.remove(&letter).await?;
                summary.discarded += 1;
                told(&DeadLetter::of(queue, &letter));
            }
            Ok(())
        }
        .await;
        let ended = self.given_back(&queues, ended).await;
        summary.stopped = ended.err().map(|error| error.to_string());
        if summary.stopped.is_none() {
            // Otherwise some were not looked for.
            summary.not_found = wanted.unwrap_or_default();
        }
        Ok(summary)
    }
}
