//! `tm confirm`, `tm cancel`, `tm retry`: of messages that are named

use std::io::{BufRead, stdin};

use serde::Serialize;
use transactional_message::{Action, MessageId, MessageInfo};

use super::{bulk, find};
use crate::arguments::Decide;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

/// The digits of an id that are enough to decide.
const DIGITS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Confirm,
    Cancel,
    Retry,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    pub(super) const fn action(self) -> Action {
        match self {
            Self::Confirm => Action::Confirm,
            Self::Cancel => Action::Cancel,
            Self::Retry => Action::Retry,
        }
    }

    pub(super) const fn done(self) -> &'static str {
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
    if decide.ids.is_empty() {
        return bulk::run(session, output, verb, decide).await;
    }
    if !decide.conditions.are_none() || decide.conditions.state.is_some() || decide.bulk.all {
        return Err(Failure::usage("ids and conditions: give the ones or the others"));
    }
    let ids = ids(&decide.ids)?;
    if ids.is_empty() {
        return Err(Failure::usage("no ids were given, nor read from the input"));
    }
    let columns = ["id", "done", "refusal"];
    let mut output = output.of_actions(&columns)?;
    if !session.dry_run {
        let what = format!("This would {} {} message(s)", verb.name(), ids.len());
        session.consent.make_sure(&what).await?;
    }
    let mut failures = Vec::new();
    for id in &ids {
        let taken = session.within(one(session, verb, id, &decide.reason)).await;
        let shown = taken.as_ref().map_or_else(|_| id.clone(), ToString::to_string);
        let done = Done {
            id: shown,
            taken: taken.is_ok(),
            refusal: taken.as_ref().err().map(|why| why.text.clone()),
        };
        // At once: whoever is cut off knows how far it got.
        output.item(&columns, &done, || match (&done.refusal, session.dry_run) {
            (None, false) => format!("{} {}", verb.done(), done.id),
            (None, true) => format!("{} would be {}", done.id, verb.done()),
            (Some(_), _) => String::new(),
        })?;
        if let Err(why) = taken {
            if output.is_for_people() {
                say(&why.text);
            }
            failures.push(why);
        }
    }
    output.ends()?;
    Ok(match failures.first() {
        None => Exit::Done,
        Some(_) if failures.len() < ids.len() => Exit::Partly,
        Some(first) => first.exit,
    })
}

async fn one(session: &Session, verb: Verb, id: &str, reason: &str) -> Result<MessageId, Failure> {
    let MessageInfo { id, .. } = find::message(&session.messenger, id, DIGITS).await?;
    let admin = session.messenger.admin().by(&session.actor);
    if session.dry_run {
        let simulation = admin.simulate(id).await?;
        let refusal = simulation.refusals.into_iter().find(|(action, _)| action.name() == verb.name());
        return match refusal.and_then(|(_, why)| why) {
            Some(why) => Err(Failure::new(Exit::Refused, format!("message {id} {why}"))),
            None => Ok(id),
        };
    }
    match verb {
        Verb::Confirm => admin.confirm(id, reason).await?,
        Verb::Cancel => admin.cancel(id, reason).await?,
        Verb::Retry => admin.retry(id, reason).await?,
    }
    Ok(id)
}

/// The ids; those of the input in the place of `-`, which must be whole: a word of a table may begin some id by chance.
fn ids(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for id in given {
        if id != "-" {
            ids.push(id.clone());
            continue;
        }
        for line in stdin().lock().lines() {
            let line = line.map_err(|error| Failure::usage(format!("the input can't be read: {error}")))?;
            for word in line.split_whitespace() {
                if word.parse::<MessageId>().is_err() {
                    return Err(Failure::usage(format!(
                        "`{word}` in the input is not an id: pipe in what `tm list --format ids` writes"
                    )));
                }
                ids.push(word.to_owned());
            }
        }
    }
    Ok(ids)
}
