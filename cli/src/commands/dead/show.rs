//! `tm dead show`

use serde_json::{Value, json};
use transactional_message::{DeadLetter, DeadLetters};

use super::super::export::of_contents;
use super::super::show::line;
use super::{named, reason, warn_of_looking};
use crate::arguments::dead::ShowDead;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, say};

const COLUMNS: [&str; 9] = [
    "id",
    "reason",
    "attempts",
    "exchange",
    "routing_key",
    "message_type",
    "sent_at",
    "payload_bytes",
    "redriven",
];
const SHOWN: u32 = 20;
/// Among so many one is looked for.
const SEARCHED: u32 = 1000;

pub(super) async fn run(
    output: &Output,
    letters: &mut DeadLetters<'_>,
    show: &ShowDead,
) -> Result<Exit, Failure> {
    let queue = &show.queue;
    let why = show.reason.as_deref().map(reason).transpose()?.unwrap_or_default();
    if letters.depth(queue).await?.is_none() {
        return Err(Failure::new(Exit::NotFound, format!("there is no queue `{queue}.dead`")));
    }
    let limit = show.limit.unwrap_or(if show.id.is_some() { SEARCHED } else { SHOWN });
    let seen = letters.look(queue, limit).await?;
    warn_of_looking(queue, &seen);
    let Some(id) = &show.id else {
        output.list("dead_letters", &COLUMNS, &seen, Value::Null)?;
        if seen.is_empty() && output.is_for_people() {
            say(&format!("there are no dead letters of `{queue}`"));
        }
        return Ok(Exit::Done);
    };
    let letter = only(seen, id, limit)?;
    let contents =
        if show.payload { letters.contents(queue, named(&letter), limit, why).await? } else { None };
    if show.payload && contents.is_none() {
        let text = format!("the dead letter `{}` has left the queue meanwhile", plain(named(&letter)));
        return Err(Failure::new(Exit::NotFound, text));
    }
    let contents = contents.as_ref().map(of_contents);
    let mut all = json!(letter);
    if let (Value::Object(all), Some(Value::Object(more))) = (&mut all, &contents) {
        all.extend(more.clone());
    }
    output.one(&all, || text(&letter, contents.as_ref(), output))?;
    Ok(Exit::Done)
}

/// The one whose id begins so.
fn only(seen: Vec<DeadLetter>, id: &str, limit: u32) -> Result<DeadLetter, Failure> {
    let begins = |letter: &DeadLetter| letter.id.as_deref().is_some_and(|known| known.starts_with(id));
    let mut found: Vec<_> = seen.into_iter().filter(begins).collect();
    // Copies of one are the same.
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    match (found.pop(), found.pop()) {
        (Some(letter), None) => Ok(letter),
        (Some(_), Some(_)) => Err(Failure::usage(format!("`{id}` begins several ids: type more of it"))),
        _ => {
            let text =
                format!("there is no dead letter `{id}` among the first {limit}; --limit looks at more");
            Err(Failure::new(Exit::NotFound, text))
        }
    }
}

fn text(letter: &DeadLetter, contents: Option<&Value>, output: &Output) -> String {
    let mut text = String::new();
    let mut put = |name: &str, value: &str| line(&mut text, name, &plain(value));
    put("dead letter", &format!("{} of the queue {}", named(letter), letter.queue));
    put("reason", &letter.reason);
    put("attempts", &letter.attempts.map_or_else(|| "not noted".into(), |attempts| attempts.to_string()));
    put("from", &format!("exchange {}, routing key {}", letter.exchange, letter.routing_key));
    if let Some(key) = &letter.business_key {
        put("key", key);
    }
    let kind = letter.message_type.as_deref().map_or_else(String::new, |kind| format!(", type {kind}"));
    put("payload", &format!("{} bytes of {}{kind}", letter.payload_bytes, letter.content_type));
    put("sent", &letter.sent_at.map_or_else(|| "its id does not tell when".into(), |at| output.time(at)));
    if letter.redriven > 0 {
        put("redriven", &format!("{} times before", letter.redriven));
    }
    for field in ["headers", "payload", "payload_base64"] {
        match contents.map(|contents| &contents[field]) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) => put(field, value),
            Some(value) => put(field, &value.to_string()),
        }
    }
    text
}
