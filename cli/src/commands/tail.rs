//! `tm tail`

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use transactional_message::{Filter, MessageId, MessageInfo, MessageState};

use crate::arguments::Tail;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, is_closed, say};

/// Of each state, and of all messages, so many are looked at, the newest.
const LOOKED_AT: u32 = 500;
const UNFINISHED: [MessageState; 4] =
    [MessageState::Half, MessageState::Confirmed, MessageState::Parked, MessageState::Dead];
/// What is remembered of messages: more than a look can find.
const REMEMBERED: usize = 10_000;

/// A message that is new, or in another state than at the last look.
#[derive(Serialize)]
struct Change {
    #[serde(flatten)]
    message: MessageInfo,
    /// In which state it was then.
    was: Option<MessageState>,
}

/// Until it is interrupted. What happens between two looks is not seen, but for its end.
pub(super) async fn run(session: &Session, output: &Output, tail: Tail) -> Result<Exit, Failure> {
    let filter = tail.conditions.filter();
    let mut known: HashMap<MessageId, MessageState> = HashMap::new();
    let mut tick = interval(tail.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut output = output.endless()?;
    let mut is_first = true;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        match session.within(look(session, &filter, &known)).await {
            Ok(seen) => {
                for message in seen {
                    let was = known.insert(message.id, message.state);
                    if is_first || was == Some(message.state) {
                        continue;
                    }
                    let change = Change { message, was };
                    output.item(
                        &["id", "was", "state", "function", "exchange", "reason"],
                        &change,
                        || line(&change),
                    )?;
                }
                is_first = false;
            }
            Err(failure) => say(&failure.text),
        }
        forget(&mut known);
        if is_closed() {
            return Ok(Exit::Done);
        }
    }
}

/// The newest messages, those that are not finished, and what has become of those that were not at the last look.
async fn look(
    session: &Session,
    filter: &Filter,
    known: &HashMap<MessageId, MessageState>,
) -> Result<Vec<MessageInfo>, Failure> {
    let admin = session.messenger.admin();
    let mut seen: HashMap<MessageId, MessageInfo> = HashMap::new();
    let states = filter.state.map_or_else(|| UNFINISHED.map(Some).to_vec(), |state| vec![Some(state)]);
    for state in states.into_iter().chain(filter.state.is_none().then_some(None)) {
        let mut of_state = filter.clone();
        of_state.state = state;
        let page = admin.search(&of_state, None, LOOKED_AT).await?;
        // Read later, it is as it is now.
        seen.extend(page.messages.into_iter().map(|message| (message.id, message)));
    }
    let gone = known.iter().filter(|(id, state)| UNFINISHED.contains(state) && !seen.contains_key(id));
    for id in gone.map(|(id, _)| *id).take(LOOKED_AT as usize).collect::<Vec<_>>() {
        if let Some(message) = admin.find(id).await? {
            seen.insert(id, message);
        }
    }
    let mut seen: Vec<_> = seen.into_values().collect();
    seen.sort_by_key(|message| message.id);
    Ok(seen)
}

/// The oldest of those that are finished: they change no more.
fn forget(known: &mut HashMap<MessageId, MessageState>) {
    if known.len() > REMEMBERED {
        let mut finished: Vec<_> = known.iter().filter(|(_, state)| !UNFINISHED.contains(state)).collect();
        finished.sort();
        let oldest: HashSet<_> = finished.iter().take(REMEMBERED / 2).map(|(id, _)| **id).collect();
        known.retain(|id, _| !oldest.contains(id));
    }
}

fn line(change: &Change) -> String {
    let Change { message, was } = change;
    let from = was.map_or_else(String::new, |was| format!("{was} → "));
    let why = message.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("{} {from}{}  {} to {}{why}", message.id, message.state, message.function, message.exchange)
}
