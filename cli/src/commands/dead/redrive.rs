//! `tm dead redrive`

use std::fmt::Write;

use serde::Serialize;
use serde_json::json;
use transactional_message::{DeadLetter, DeadLetters, Redrive, RedrivePreview, RedriveSummary, Redriven};

use super::{named, reason};
use crate::arguments::dead::RedriveDead;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Stream, plain, say, seconds};

const COLUMNS: [&str; 3] = ["id", "became", "why"];

/// What became of one.
#[derive(Serialize)]
struct Done<'a> {
    id: Option<&'a str>,
    became: &'a str,
    /// Why it was not sent.
    why: Option<&'a str>,
}

pub(super) async fn run(
    session: &Session,
    output: &Output,
    letters: &mut DeadLetters<'_>,
    redrive: &RedriveDead,
) -> Result<Exit, Failure> {
    let (queue, reason) = (&redrive.queue, reason(&redrive.reason)?);
    let mut results = output.of_actions(&COLUMNS)?;
    let options = options(redrive);
    let preview = async {
        if letters.depth(queue).await?.is_none() {
            return Err(Failure::new(Exit::NotFound, format!("there is no queue `{queue}.dead`")));
        }
        Ok(letters.preview(queue, &options).await?)
    };
    let preview = session.within(preview).await?;
    let found = found(queue, &preview);
    if session.dry_run {
        output.one(&preview, || found)?;
        return Ok(Exit::Done);
    }
    say(&found);
    if preview.depth == 0 {
        results.ends_with(json!({ "summary": RedriveSummary::default() }))?;
        return Ok(Exit::Done);
    }
    let most = redrive.max.map_or(preview.depth, |max| max.min(preview.depth));
    session
        .consent
        .agree(&format!("Up to {most} dead letters go to the queue `{queue}` of {}", session.target))
        .await?;

    let mut written = Ok(());
    let told = |letter: &DeadLetter, became: &Redriven| {
        if written.is_ok() {
            written = tell(&mut results, letter, became);
        }
    };
    let summary = letters.redrive(queue, &options, reason, told).await?;
    say(&told_of(&summary));
    written?;
    results.ends_with(json!({ "summary": summary }))?;
    Ok(exit(&summary))
}

fn options(redrive: &RedriveDead) -> Redrive {
    let mut options =
        Redrive::default().stop_after_failures(redrive.stop_after_failures).forgotten(redrive.forgotten);
    if let Some(rate) = redrive.rate {
        options = options.rate(rate);
    }
    if let Some(max) = redrive.max {
        options = options.max(max);
    }
    if let Some(remember) = redrive.remember {
        options = options.remember(remember);
    }
    options
}

fn found(queue: &str, preview: &RedrivePreview) -> String {
    let RedrivePreview { depth, looked_at, would_send, too_old, timeless, remembered_for, .. } = preview;
    let remembered = seconds(*remembered_for);
    let mut parts = vec![format!("{depth} dead letters of `{queue}`")];
    if looked_at < depth {
        parts.push(format!("of the first {looked_at}"));
    }
    parts.push(format!("{would_send} would be sent"));
    if *too_old > 0 {
        parts.push(format!("{too_old} left for being older than what the consumer remembers ({remembered})"));
    }
    if *timeless > 0 {
        parts.push(format!("{timeless} left because their ids don't tell how old they are"));
    }
    let mut text = parts.join(", ");
    if too_old + timeless > 0 {
        text.push_str("; --forgotten would send them");
    }
    if *too_old > 0 {
        text.push_str("; their consumer would bury again those that are too old");
    }
    if *timeless > 0 {
        text.push_str("; the effect of those whose ids don't tell might happen a second time");
    }
    if !preview.remembered_for_is_known {
        let _ = write!(
            text,
            "\nno process has announced how long the consumer of `{queue}` remembers messages: the default, {remembered}, \
             is taken; --remember says otherwise"
        );
    }
    text
}

fn tell(output: &mut Stream, letter: &DeadLetter, became: &Redriven) -> Result<(), Failure> {
    let (became, why) = match became {
        Redriven::Sent => ("sent", None),
        Redriven::TooOld => ("too_old", None),
        Redriven::Timeless => ("timeless", None),
        Redriven::Repeated => ("repeated", None),
        Redriven::Failed(why) => ("failed", Some(why.as_str())),
        _ => ("unknown", None),
    };
    if let Some(why) = why.filter(|_| output.is_for_people()) {
        say(&format!("{} was not sent: {}", plain(named(letter)), plain(why)));
    }
    let done = Done { id: letter.id.as_deref(), became, why };
    output.item(&COLUMNS, &done, || match became {
        "sent" => format!("sent {}", plain(named(letter))),
        _ => String::new(),
    })
}

fn told_of(summary: &RedriveSummary) -> String {
    let RedriveSummary { redriven, too_old, timeless, repeated, failed, stopped, .. } = summary;
    let left = [
        (too_old, "left for being too old"),
        (timeless, "left because their ids don't tell how old they are"),
        (repeated, "left because this redrive had sent them already"),
        (failed, "could not be sent, and stay"),
    ];
    let left = left.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!(", {count} {what}"));
    let mut text = format!("{redriven} sent{}", left.collect::<String>());
    if let Some(why) = stopped {
        let why = plain(why);
        let _ = write!(
            text,
            "\nit stopped before its end: {why}. What was not sent stays where it is: run it again"
        );
    }
    text
}

fn exit(summary: &RedriveSummary) -> Exit {
    let failed = summary.failed > 0 || summary.stopped.is_some();
    let left = summary.too_old + summary.timeless > 0;
    match (failed || left, summary.redriven > 0) {
        (false, _) => Exit::Done,
        (true, true) => Exit::Partly,
        (true, false) if failed => Exit::Failed,
        (true, false) => Exit::Refused,
    }
}
