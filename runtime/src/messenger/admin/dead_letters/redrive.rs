//! Sending dead letters to their consumer again.
//!
//! Each is recorded, published to the consumer's queue (other queues that its exchange leads to have had it), and only then
//! removed from the dead letters. If the process dies in between, there are two; the consumer's inbox knows the second.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::{DeadLetter, DeadLetters, LONGEST_IN_HAND, MOST_IN_HAND, REMEMBERED};
use super::{Redrive, RedrivePreview, RedriveSummary, Redriven};
use crate::broker::rabbitmq::{Letter, Queues};
use crate::error::Error;
use crate::store::Action;

/// So many a preview looks at.
const PREVIEWED: u32 = 1000;

impl DeadLetters<'_> {
    /// What a redrive would find, by the first 1000 dead letters. They stay where they are.
    ///
    /// # Errors
    /// As of [`look`](Self::look).
    pub async fn preview(&mut self, queue: &str, options: &Redrive) -> Result<RedrivePreview, Error> {
        let queues = Queues::named(queue)?;
        let depth = self.depth_to_take(&queues, queue).await?;
        let (remembered_for, remembered_for_is_known) = self.remembered(queue, options).await?;
        let (mut looked_at, mut would_send, mut too_old, mut timeless) = (0, 0, 0, 0);
        let most = options.most.unwrap_or(depth);
        let looking = async {
            while looked_at < depth.min(PREVIEWED) && would_send < most {
                let Some(letter) = self.hand.take(&queues).await? else { break };
                looked_at += 1;
                match left(&letter, options, remembered_for) {
                    None => would_send += 1,
                    Some(Redriven::Timeless) => timeless += 1,
                    Some(_) => too_old += 1,
                }
            }
            Ok(())
        };
        let looked = looking.await;
        self.given_back(&queues, looked).await?;
        Ok(RedrivePreview {
            depth,
            looked_at,
            would_send,
            too_old,
            timeless,
            remembered_for,
            remembered_for_is_known,
        })
    }

    /// Sends the dead letters of a queue to its consumer again, the oldest first, one after the other; `told` hears of each at
    /// once. They begin anew, with all their attempts, and however late: what says when they expire is left out. Each leaves a record
    /// in the audit, before it is sent.
    ///
    /// Left where they are: those older than what the consumer's inbox remembers, of which nobody could tell whether their
    /// effect has happened; those whose ids don't tell how old they are; those that were sent in this redrive already,
    /// and failed again; and those that can't be sent. At most 10 000 are left so, for at most 25 minutes: then it stops, and says so.
    ///
    /// # Errors
    /// As of [`look`](Self::look): what is left behind was in hand. Once it has begun, the summary says why it stopped.
    ///
    /// # Cancel safety
    /// Dropped half-way, the message under way may be in both queues; the inbox knows the second copy. Nothing is lost.
    pub async fn redrive(
        &mut self,
        queue: &str,
        options: &Redrive,
        reason: &str,
        mut told: impl FnMut(&DeadLetter, &Redriven),
    ) -> Result<RedriveSummary, Error> {
        let queues = Queues::named(queue)?;
        let depth = self.depth_to_take(&queues, queue).await?;
        let (remembered_for, _) = self.remembered(queue, options).await?;
        let mut pace = options.rate.map(|rate| pace(rate.get()));
        let mut run = Run { summary: RedriveSummary::default(), began: Instant::now(), sent: HashSet::new() };
        for _ in 0..depth {
            if run.must_stop(options) {
                break;
            }
            let wanted =
                |letter: &Letter| run.repeats(letter).or_else(|| left(letter, options, remembered_for));
            let (letter, became) = match self.one(&queues, queue, wanted, reason, &mut pace).await {
                Ok(Some(one)) => one,
                Ok(None) => break,
                Err(error) => {
                    run.stop(&error);
                    break;
                }
            };
            run.count(&letter, &became);
            told(&DeadLetter::of(queue, &letter), &became);
            // It counts as sent, whatever comes of this: there may be two copies.
            if became == Redriven::Sent
                && let Err(error) = self.hand.remove(&letter).await
            {
                run.stop(&error);
                break;
            }
        }
        if let Err(error) = self.hand.turn(&queues).await {
            run.stop(&error);
        }
        Ok(run.summary)
    }

    /// Sees to the next one, but does not remove it.
    async fn one(
        &mut self,
        queues: &Queues,
        queue: &str,
        left: impl Fn(&Letter) -> Option<Redriven>,
        reason: &str,
        pace: &mut Option<Interval>,
    ) -> Result<Option<(Letter, Redriven)>, Error> {
        let Some(letter) = self.hand.take(queues).await? else { return Ok(None) };
        if let Some(left) = left(&letter) {
            return Ok(Some((letter, left)));
        }
        if let Some(pace) = pace {
            pace.tick().await;
        }
        self.record(Action::Redrive, queue, &letter, reason).await?;
        let became = match self.hand.put_back(&letter, queues).await? {
            Ok(()) => Redriven::Sent,
            Err(why) => Redriven::Failed(why),
        };
        Ok(Some((letter, became)))
    }

    /// How long the consumer remembers, and whether that is known.
    async fn remembered(&self, queue: &str, options: &Redrive) -> Result<(Duration, bool), Error> {
        let known = match options.remember {
            Some(said) => Some(said),
            None => self.admin.remembered_by(queue).await?,
        };
        Ok((known.unwrap_or(REMEMBERED), known.is_some()))
    }
}

/// Why a letter is not sent, if it is not.
fn left(letter: &Letter, options: &Redrive, remembered_for: Duration) -> Option<Redriven> {
    if options.forgotten {
        return None;
    }
    let Some(begun) = letter.begun_at() else { return Some(Redriven::Timeless) };
    let age = SystemTime::now().duration_since(begun).unwrap_or_default();
    (age > remembered_for).then_some(Redriven::TooOld)
}

fn pace(rate: u32) -> Interval {
    let mut pace = interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// How far it has come.
struct Run {
    summary: RedriveSummary,
    began: Instant,
    /// The ids of what was sent.
    sent: HashSet<String>,
}

impl Run {
    /// Whether it was sent before, and is dead again.
    fn repeats(&self, letter: &Letter) -> Option<Redriven> {
        letter.message_id().is_some_and(|id| self.sent.contains(&id)).then_some(Redriven::Repeated)
    }

    fn count(&mut self, letter: &Letter, became: &Redriven) {
        if *became == Redriven::Sent {
            self.sent.extend(letter.message_id());
        }
        let RedriveSummary { redriven, too_old, timeless, repeated, failed, .. } = &mut self.summary;
        *match became {
            Redriven::Sent => redriven,
            Redriven::TooOld => too_old,
            Redriven::Timeless => timeless,
            Redriven::Repeated => repeated,
            Redriven::Failed(_) => failed,
        } += 1;
    }

    fn stop(&mut self, why: &impl ToString) {
        self.summary.stopped.get_or_insert_with(|| why.to_string());
    }

    /// Whether no more is to be taken. Says why, if that is no success.
    fn must_stop(&mut self, options: &Redrive) -> bool {
        let RedriveSummary { redriven, too_old, timeless, repeated, failed, .. } = self.summary;
        let held = too_old + timeless + repeated + failed;
        let why = if options.most.is_some_and(|most| redriven >= most) {
            return true;
        } else if failed > 0 && failed >= options.failures {
            format!("{failed} could not be sent")
        } else if held as usize >= MOST_IN_HAND {
            format!("{held} are left where they are, and no more are held at once")
        } else if held > 0 && self.began.elapsed() > LONGEST_IN_HAND {
            format!("{held} are left where they are, and RabbitMQ lets nothing be held for longer")
        } else {
            return false;
        };
        self.stop(&why);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(redriven: u32, too_old: u32, failed: u32) -> Run {
        Run {
            summary: RedriveSummary { redriven, too_old, failed, ..RedriveSummary::default() },
            began: Instant::now(),
            sent: HashSet::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_where_it_must() {
        let options = Redrive::default();
        assert!(!run(1_000_000, 9_999, 0).must_stop(&options));
        let mut most = run(3, 0, 0);
        assert!(most.must_stop(&options.max(3)) && most.summary.stopped.is_none());
        for (mut run, why) in
            [(run(3, 0, 10), "10 could not be sent"), (run(0, 10_000, 0), "no more are held at once")]
        {
            assert!(run.must_stop(&options));
            let stopped = run.summary.stopped.unwrap_or_default();
            assert!(stopped.contains(why), "{stopped}");
        }
        let (mut all_sent, mut some_held) = (run(5, 0, 0), run(5, 1, 0));
        tokio::time::advance(Duration::from_mins(26)).await;
        assert!(!all_sent.must_stop(&options), "what was sent is not held");
        assert!(some_held.must_stop(&options));
    }
}
