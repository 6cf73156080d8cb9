//! `tm list`

use serde_json::json;

use crate::arguments::List;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

/// What a table shows of messages.
pub(super) const COLUMNS: [&str; 9] = [
    "id",
    "state",
    "function",
    "exchange",
    "routing_key",
    "business_key",
    "attempts",
    "created_at",
    "reason",
];

/// A search looks at some thousands of messages at once. So often it goes on by itself where it found too few.
const SEARCHES: usize = 20;

pub(super) async fn run(session: &Session, output: &Output, list: List) -> Result<Exit, Failure> {
    let filter = list.conditions.filter();
    let (mut messages, mut next) = (Vec::new(), list.after);
    for _ in 0..SEARCHES {
        let wanted = list.limit - u32::try_from(messages.len()).unwrap_or(list.limit);
        let page = session.messenger.admin().search(&filter, next, wanted).await?;
        messages.extend(page.messages);
        next = page.next;
        if next.is_none() || messages.len() >= list.limit as usize {
            break;
        }
    }
    output.list("messages", &COLUMNS, &messages, json!({ "next": next }))?;
    if let Some(next) = next {
        say(&format!("there may be more: --after {next}"));
    } else if messages.is_empty() && output.is_for_people() {
        say("no message meets the conditions");
    }
    Ok(Exit::Done)
}
