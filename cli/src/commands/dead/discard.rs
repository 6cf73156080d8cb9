//! `tm dead discard`

use serde_json::json;
use transactional_message::{DeadLetter, DeadLetters, Discard, DiscardSummary};

use super::{named, reason};
use crate::arguments::dead::DiscardDead;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, say};

/// Those of a dead letter.
const COLUMNS: [&str; 13] = [
    "id",
    "queue",
    "reason",
    "attempts",
    "exchange",
    "routing_key",
    "message_type",
    "content_type",
    "business_key",
    "sent_at",
    "payload_bytes",
    "redriven",
    "handed_out",
];

pub(super) async fn run(
    session: &Session,
    output: &Output,
    letters: &mut DeadLetters<'_>,
    discard: &DiscardDead,
) -> Result<Exit, Failure> {
    let (queue, reason) = (&discard.queue, reason(&discard.reason)?);
    let mut results = output.of_actions(&COLUMNS)?;
    let depth = session.within(async { Ok(letters.depth(queue).await?) }).await?;
    let Some(depth) = depth else {
        return Err(Failure::new(Exit::NotFound, format!("there is no queue `{queue}.dead`")));
    };
    let (which, what) = if discard.all {
        let most = discard.max.map_or(depth, |max| max.min(depth));
        (Discard::First(most), format!("{most} of {depth} dead letters of the queue `{queue}`"))
    } else {
        let count = discard.ids.len();
        let what = format!(
            "what has one of {count} ids among the first 10000 of {depth} dead letters of the queue `{queue}`"
        );
        (Discard::Ids(discard.ids.clone()), what)
    };
    let what = format!("{what} would be removed for good");
    if session.dry_run {
        say(&what);
        return Ok(Exit::Done);
    }
    session.consent.agree(&format!("{what}, at {}", session.target)).await?;

    let mut written = Ok(());
    let told = |letter: &DeadLetter| {
        if written.is_ok() {
            let text = || format!("discarded {}", plain(named(letter)));
            written = results.item(&["id", "reason", "sent_at"], letter, text);
        }
    };
    let summary = letters.discard(queue, &which, reason, told).await?;
    for id in &summary.not_found {
        say(&format!("there is no dead letter `{}` among the first 10000", plain(id)));
    }
    if let Some(why) = &summary.stopped {
        say(&format!("it stopped before its end: {}. What was not discarded stays where it is", plain(why)));
    }
    written?;
    results.ends_with(json!({ "summary": summary }))?;
    Ok(exit(&summary))
}

fn exit(summary: &DiscardSummary) -> Exit {
    let DiscardSummary { discarded, not_found, stopped, .. } = summary;
    match (stopped.is_some(), not_found.is_empty(), *discarded > 0) {
        (false, true, _) => Exit::Done,
        (_, _, true) => Exit::Partly,
        (true, _, false) => Exit::Failed,
        (false, false, false) => Exit::NotFound,
    }
}
