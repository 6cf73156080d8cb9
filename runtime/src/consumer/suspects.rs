//! Suspects: messages that were in hand when a process ended, so that one of them may have killed it.
//!
//! Each runs alone in its process, after a committed note that it does. If the process ends again, the note stays, and
//! nobody else can be to blame; every other end takes it back. Those with the fewest such notes come first, so that
//! the innocent are done before the guilty can strike.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::work::Work;
use crate::fault;
use crate::message::{MessageId, age};
use crate::settings::Backoff;
use crate::telemetry::labels::Buried;
use crate::transport::{Delivery, Disposition};
use crate::worker::alone::ByItself;

/// Between tries to take a note back.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
const MOST_TRIES: u32 = 8;

/// How many are handled before those that have come meanwhile belong to the choice.
const ROUND: usize = 16;
/// How long one suspect after the other may keep everything else from running.
const LONGEST_TURN: Duration = Duration::from_millis(250);

/// Nothing else runs in this process as long as it is held.
struct Turn {
    _alone: ByItself,
    began: Instant,
}

impl Turn {
    /// Goes on with a turn that has not lasted long. Otherwise, what waits gets on first: ending what runs takes longer
    /// than most suspects.
    async fn take(work: &Work, held: Option<Self>) -> Self {
        match held {
            Some(turn) if turn.began.elapsed() < LONGEST_TURN => turn,
            held => {
                drop(held);
                Self { _alone: work.alone.by_itself().await, began: Instant::now() }
            }
        }
    }
}

/// Handles the least blamed of the suspects, one after the other, and gives the others back.
pub(super) async fn judge(work: Work, suspects: Vec<Delivery>) -> Vec<Delivery> {
    let mut suspects: Vec<_> = suspects.into_iter().filter_map(|one| work.unless_under_way(one)).collect();
    if suspects.is_empty() {
        return suspects;
    }
    let entries: HashMap<_, _> = match work.inbox.entries().await {
        Ok(entries) => entries.into_iter().collect(),
        Err(error) => {
            for one in suspects {
                work.inbox.keeps_waiting(one.id, &error);
                let _ = one.settle.send(Disposition::NotNow(error.to_string()));
            }
            return Vec::new();
        }
    };
    let blame = |one: &Delivery| entries.get(&one.id).copied().unwrap_or_default();
    suspects.sort_by_key(blame);
    let least = suspects.first().map(blame);
    let round = suspects.iter().take(ROUND).take_while(|one| Some(blame(one)) == least).count();
    let rest = suspects.split_off(round);
    if fault::bug("all-blamed") {
        for other in suspects.iter().skip(1).chain(&rest) {
            let _ = work.inbox.enter_alone(other.id).await;
        }
    }
    let mut turn = None;
    for suspect in suspects {
        let entries = u32::try_from(blame(&suspect)).unwrap_or(u32::MAX);
        turn = handle(&work, suspect, entries, turn).await;
    }
    rest
}

/// Handles a suspect, which was entered that often and did not come to an end. The turn, if it is to be held.
async fn handle(work: &Work, suspect: Delivery, entries: u32, turn: Option<Turn>) -> Option<Turn> {
    let Some((suspect, claimed)) = work.claim(suspect) else { return turn };
    let Delivery { id, message, attempt, settle, .. } = suspect;
    let attempt = attempt.saturating_add(entries);
    let mut held = None;
    let handled = if attempt > work.budget {
        let why = format!(
            "the process ended {entries} times while it was handling this message and nothing else; with what failed \
             otherwise, that uses up the {} attempts",
            work.budget
        );
        drop(turn);
        leave(work, id, true).await;
        Disposition::Rejected(Buried::Attempts, why)
    } else {
        let turn = Turn::take(work, turn).await;
        match work.inbox.enter_alone(id).await {
            Ok(true) => {
                let age = age(id, message.schedule.due());
                let handled = work.within_budget(age, attempt, work.run(id, message, attempt, true).await);
                // An effect has taken its notes back by itself; that of an earlier time had none.
                if handled == Disposition::Done {
                    held = Some(turn);
                } else {
                    drop(turn);
                    leave(work, id, matches!(handled, Disposition::Rejected(..))).await;
                }
                handled
            }
            Ok(false) => {
                drop(turn);
                leave(work, id, true).await;
                work.inbox.came_again();
                Disposition::Done
            }
            Err(error) => {
                work.inbox.keeps_waiting(id, &error);
                Disposition::NotNow(error.to_string())
            }
        }
    };
    drop(claimed);
    let _ = settle.send(handled);
    held
}

/// Takes back the note, or all of them: it is settled after that, so that an end that is known counts for nothing.
async fn leave(work: &Work, id: MessageId, all: bool) {
    for tries in 0..MOST_TRIES {
        let Err(error) = work.inbox.leave_alone(id, all).await else { return };
        tracing::debug!(%id, %error, "the note that a message is being handled could not be taken back");
        tokio::time::sleep(PAUSES.delay(tries)).await;
    }
    tracing::warn!(%id, "the note that a message is being handled stays in tm_inbox_entered, and counts as an attempt");
}
