//! `tm why`

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use transactional_message::{Explanation, Filter, MessageId, MessageInfo, MessageState, Said};

use super::{find, show};
use crate::arguments::Why;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

/// How many messages a census looks at, and how many at once.
const MOST: usize = 10_000;
const PAGE: u32 = 1000;

pub(super) async fn run(session: &Session, output: &Output, why: &Why) -> Result<Exit, Failure> {
    if let Some(state) = why.state {
        return census(session, output, state.into()).await;
    }
    let message = find::message(&session.messenger, why.id.as_deref().unwrap_or_default(), 1).await?;
    let explanation = session.messenger.admin().explain(message.id).await?;
    let said = explanation.say(output.language, |time| output.time(time));
    let mut all = explained(&explanation, &said);
    all["id"] = json!(message.id);
    output.one(&all, || format!("{said}\n"))?;
    Ok(Exit::Done)
}

/// The explanation as data, and its words.
pub(super) fn explained(explanation: &Explanation, said: &Said) -> Value {
    let mut all = serde_json::to_value(explanation).unwrap_or_default();
    all["words"] = json!({
        "state": said.state,
        "because": said.because,
        "next": said.next,
        "choices": said.choices,
    });
    all
}

pub(super) fn lines(text: &mut String, said: &Said) {
    show::line(text, "why", &said.because);
    show::line(text, "next", &said.next);
    said.choices.iter().for_each(|choice| show::line(text, "you can", choice));
}

/// Messages that stand where they stand for the same cause.
#[derive(Serialize)]
pub(super) struct Group {
    pub(super) count: usize,
    cause: Value,
    pub(super) because: String,
    next: String,
    /// The newest of them, of which the words are.
    pub(super) example: MessageId,
}

/// Adds messages to the groups that they belong to.
pub(super) async fn group(
    session: &Session,
    output: &Output,
    messages: &[MessageInfo],
    groups: &mut BTreeMap<String, Group>,
) -> Result<(), Failure> {
    let explanations = session.messenger.admin().explain_all(messages).await?;
    for (message, explanation) in messages.iter().zip(explanations) {
        // Times are each message's own.
        let said = explanation.say(output.language, |_| "…".into());
        let cause = cause(&explanation);
        let group = groups.entry(format!("{cause}{:?}", explanation.next)).or_insert_with(|| Group {
            count: 0,
            cause,
            because: said.because,
            next: said.next,
            example: message.id,
        });
        group.count += 1;
    }
    Ok(())
}

/// The largest first.
pub(super) fn sorted(groups: BTreeMap<String, Group>) -> Vec<Group> {
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

async fn census(session: &Session, output: &Output, state: MessageState) -> Result<Exit, Failure> {
    let admin = session.messenger.admin();
    let (mut groups, mut next, mut seen) = (BTreeMap::<String, Group>::new(), None, 0);
    loop {
        let page = admin.search(&Filter::from(state), next, PAGE).await?;
        group(session, output, &page.messages, &mut groups).await?;
        seen += page.messages.len();
        next = page.next;
        if next.is_none() || seen >= MOST {
            break;
        }
    }
    let groups = sorted(groups);
    let whole = next.is_none();
    output.list("groups", &["count", "because", "next", "example"], &groups, json!({ "whole": whole }))?;
    if !whole {
        say(&format!("only the newest {seen} messages were looked at"));
    }
    Ok(Exit::Done)
}

/// The name of a cause, without its numbers.
fn cause(explanation: &Explanation) -> Value {
    let cause = serde_json::to_value(explanation.because).unwrap_or_default();
    match cause.as_object().and_then(|cause| cause.keys().next()) {
        Some(name) => json!(name),
        None => cause,
    }
}
