//! `tm status`

use serde::Serialize;
use transactional_message::Unfinished;

use super::processes::differences;
use crate::arguments::{Condition, Globals, Status};
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, seconds, write};

/// What there is to say at one moment.
#[derive(Serialize)]
struct Now {
    half: u64,
    confirmed: u64,
    delayed: u64,
    parked: u64,
    dead: u64,
    oldest_seconds: Option<f64>,
    processes: usize,
    judgement: String,
}

pub(super) async fn run(session: &Session, output: &Output, status: &Status) -> Result<Exit, Failure> {
    let unfinished = session.messenger.unfinished().await?;
    let processes = session.messenger.admin().processes().await?;
    let alive = processes.iter().filter(|process| process.is_alive()).count();
    let mut judgement = judge(&unfinished, alive);
    for difference in differences(&processes) {
        judgement = format!("{judgement} {difference}.");
    }
    let now = Now {
        half: unfinished.half,
        confirmed: unfinished.confirmed,
        delayed: unfinished.delayed,
        parked: unfinished.parked,
        dead: unfinished.dead,
        oldest_seconds: unfinished.oldest.map(|age| age.as_secs_f64()),
        processes: alive,
        judgement,
    };
    output.one(&now, || text(&now, &unfinished))?;
    let failed = status.fail_on.iter().any(|condition| holds(*condition, &unfinished));
    Ok(if failed { Exit::Found } else { Exit::Done })
}

/// Again and again, until it is interrupted.
pub(super) async fn watch(globals: &Globals, status: &Status) -> Result<Exit, Failure> {
    let (output, session) = (Output::new(globals), Session::open(globals).await?);
    let pause = status.watch.unwrap_or_default();
    loop {
        if output.is_for_people() {
            // Clears the screen, and goes to its top.
            write("\u{1b}[2J\u{1b}[H")?;
        }
        let exit = run(&session, &output, status).await?;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(exit),
        }
    }
}

fn holds(condition: Condition, unfinished: &Unfinished) -> bool {
    match condition {
        Condition::Parked => unfinished.parked > 0,
        Condition::Dead => unfinished.dead > 0,
        Condition::Lag(lag) => unfinished.oldest.is_some_and(|age| age > lag),
    }
}

fn text(now: &Now, unfinished: &Unfinished) -> String {
    let oldest = unfinished.oldest.map_or_else(|| "-".to_owned(), seconds);
    format!(
        "half {}   confirmed {} (delayed {})   parked {}   dead {}   oldest {oldest}   processes {}\n{}\n",
        now.half, now.confirmed, now.delayed, now.parked, now.dead, now.processes, now.judgement
    )
}

/// In one sentence or two: what wants attention first, or that nothing does.
fn judge(unfinished: &Unfinished, processes: usize) -> String {
    let mut wants = Vec::new();
    if unfinished.parked > 0 {
        wants.push(format!(
            "{} parked: `tm why --state parked` says why, `tm confirm` or `tm cancel` decides",
            unfinished.parked
        ));
    }
    if unfinished.dead > 0 {
        wants.push(format!("{} dead: `tm why --state dead` says why, `tm retry` revives", unfinished.dead));
    }
    if processes == 0 && unfinished.half + unfinished.confirmed > 0 {
        wants.push("messages are on their way, and no process runs that takes them up".to_owned());
    }
    if !wants.is_empty() {
        return format!("Needs a person: {}.", wants.join("; "));
    }
    match unfinished.oldest {
        None => "Nothing waits for a person, and nothing is on its way.".to_owned(),
        Some(age) => {
            format!("Nothing waits for a person; the oldest message on its way is {} old.", seconds(age))
        }
    }
}
