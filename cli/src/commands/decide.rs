//! `tm confirm`, `tm cancel`, `tm retry`

use std::io::{BufRead, stdin};

use serde::Serialize;
use transactional_message::{MessageId, MessageInfo};

use super::{find, simulate};
use crate::arguments::Decide;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say, write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Confirm,
    Cancel,
    Retry,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Confirm => "confirmed",
            Self::Cancel => "cancelled",
            Self::Retry => "retried",
        }
    }
}

/// What became of one message.
#[derive(Serialize)]
struct Done {
    id: String,
    /// Whether it was done.
    #[serde(rename = "done")]
    taken: bool,
    /// Why not.
    refusal: Option<String>,
}

pub(super) async fn run(
    session: &Session,
    output: &Output,
    verb: Verb,
    decide: &Decide,
) -> Result<Exit, Failure> {
    if decide.reason.trim().is_empty() {
        return Err(Failure::usage("--reason is empty: say why, for those who look into it later"));
    }
    let ids = ids(&decide.ids)?;
    if ids.is_empty() {
        return Err(Failure::usage("no ids were given, nor read from the input"));
    }
    if session.dry_run {
        return dry_run(session, output, &ids).await;
    }
    session.consent.make_sure(&format!("This would {} {} message(s)", verb.name(), ids.len()))?;
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for id in &ids {
        let done = one(session, verb, id, &decide.reason).await;
        let shown = done.as_ref().map_or_else(|_| id.clone(), ToString::to_string);
        let refusal = done.err().map(|failure| {
            let text = failure.text.clone();
            failures.push(failure);
            text
        });
        all.push(Done { id: shown, taken: refusal.is_none(), refusal });
    }
    report(output, verb, &all)?;
    Ok(match failures.first() {
        None => Exit::Done,
        Some(_) if failures.len() < all.len() => Exit::Partly,
        Some(first) => first.exit,
    })
}

async fn one(session: &Session, verb: Verb, id: &str, reason: &str) -> Result<MessageId, Failure> {
    let MessageInfo { id, .. } = find::message(&session.messenger, id).await?;
    let admin = session.messenger.admin().by(&session.actor);
    match verb {
        Verb::Confirm => admin.confirm(id, reason).await?,
        Verb::Cancel => admin.cancel(id, reason).await?,
        Verb::Retry => admin.retry(id, reason).await?,
    }
    Ok(id)
}

fn report(output: &Output, verb: Verb, all: &[Done]) -> Result<(), Failure> {
    if !output.is_for_people() {
        return output.list("messages", &["id", "done", "refusal"], all, serde_json::Value::Null);
    }
    for one in all {
        match &one.refusal {
            None => write(&format!("{} {}\n", verb.done(), one.id))?,
            Some(why) => say(why),
        }
    }
    Ok(())
}

async fn dry_run(session: &Session, output: &Output, ids: &[String]) -> Result<Exit, Failure> {
    for id in ids {
        simulate::run(session, output, id).await?;
    }
    Ok(Exit::Done)
}

/// The ids; those of the input in the place of `-`.
fn ids(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for id in given {
        if id == "-" {
            for line in stdin().lock().lines() {
                let line = line?;
                ids.extend(line.split_whitespace().map(ToOwned::to_owned));
            }
        } else {
            ids.push(id.clone());
        }
    }
    Ok(ids)
}
