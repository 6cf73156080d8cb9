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

pub(super) async fn run(session: &Session, output: &Output, list: List) -> Result<Exit, Failure> {
    let filter = list.conditions.filter();
    let page = session.messenger.admin().search(&filter, list.after, list.limit).await?;
    output.list("messages", &COLUMNS, &page.messages, json!({ "next": page.next }))?;
    if let Some(next) = page.next.filter(|_| output.is_for_people()) {
        say(&format!("there may be more: --after {next}"));
    } else if page.messages.is_empty() && output.is_for_people() {
        say("no message meets the conditions");
    }
    Ok(Exit::Done)
}
