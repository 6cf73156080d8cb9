//! `tm status`

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use transactional_message::{Finding, Gauges, Pause};

use crate::arguments::{Condition, Globals, Status};
use crate::connect::{Session, within};
use crate::exit::{Exit, Failure};
use crate::output::{Output, is_closed, plain, say, seconds, write};

/// What there is to say at one moment.
#[derive(Serialize)]
struct Now {
    half: u64,
    confirmed: u64,
    parked: u64,
    dead: u64,
    /// For how long the first message has been due that nobody has taken up.
    lag_seconds: Option<f64>,
    oldest_seconds: Option<f64>,
    processes: usize,
    judgement: String,
    pauses: Vec<Pause>,
}

pub(super) async fn run(session: &Session, output: &Output, status: &Status) -> Result<Exit, Failure> {
    let gauges = session.messenger.admin().gauges().await?;
    let processes = session.messenger.admin().processes().await?;
    let alive = processes.iter().filter(|process| process.is_alive()).count();
    // Without the right to read them, the rest is said all the same.
    let pauses = session.messenger.admin().pauses().await.unwrap_or_default();
    let mut judgement = judge(&gauges, &pauses, alive);
    let differences = Finding::differences(&processes).len();
    if differences > 0 {
        judgement = format!("{judgement} Processes differ in {differences} point(s): see `tm processes`.");
    }
    let now = Now {
        half: gauges.half.count,
        confirmed: gauges.confirmed.count,
        parked: gauges.parked.count,
        dead: gauges.dead.count,
        lag_seconds: gauges.lag().map(|lag| lag.as_secs_f64()),
        oldest_seconds: oldest(&gauges).map(|age| age.as_secs_f64()),
        processes: alive,
        judgement,
        pauses,
    };
    output.one(&now, || text(&now, &gauges, output))?;
    let failed = status.fail_on.iter().any(|condition| holds(*condition, &gauges));
    Ok(if failed { Exit::Found } else { Exit::Done })
}

fn oldest(gauges: &Gauges) -> Option<Duration> {
    gauges.half.oldest.max(gauges.confirmed.oldest)
}

/// Again and again, until it is interrupted. A store that does not answer is told of, and asked again.
pub(super) async fn watch(globals: &Globals, status: &Status) -> Result<Exit, Failure> {
    let output = Output::new(globals);
    let session = within(globals.timeout, Session::open(globals)).await?;
    let pause = status.watch.unwrap_or_default();
    loop {
        if output.is_for_people() {
            // Clears the screen, and goes to its top.
            write("\u{1b}[2J\u{1b}[H")?;
        }
        let exit = match session.within(run(&session, &output, status)).await {
            Ok(exit) => exit,
            Err(failure) => {
                say(&failure.text);
                failure.exit
            }
        };
        if is_closed() {
            return Ok(exit);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(exit),
        }
    }
}

fn holds(condition: Condition, gauges: &Gauges) -> bool {
    match condition {
        Condition::Parked => gauges.parked.count > 0,
        Condition::Dead => gauges.dead.count > 0,
        Condition::Lag(most) => gauges.lag().is_some_and(|lag| lag > most),
    }
}

fn text(now: &Now, gauges: &Gauges, output: &Output) -> String {
    let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), seconds);
    let (oldest, lag) = (time(oldest(gauges)), time(gauges.lag()));
    let mut text = format!(
        "half {}   confirmed {}   parked {}   dead {}   oldest {oldest}   lag {lag}   processes {}\n{}\n",
        now.half, now.confirmed, now.parked, now.dead, now.processes, now.judgement
    );
    for Pause { what, reason, user, via, ends_at, .. } in &now.pauses {
        let end = output.time(*ends_at);
        let _ = writeln!(text, "Paused: {what} by {user} ({via}), ends {end}: {}", plain(reason));
    }
    text
}

/// In one sentence or two: what wants attention first, or that nothing does.
fn judge(gauges: &Gauges, pauses: &[Pause], processes: usize) -> String {
    let mut wants = Vec::new();
    let (parked, dead) = (gauges.parked.count, gauges.dead.count);
    if parked > 0 {
        wants.push(format!(
            "{parked} parked: `tm why --state parked` says why, `tm confirm` or `tm cancel` decides"
        ));
    }
    if dead > 0 {
        wants.push(format!("{dead} dead: `tm why --state dead` says why, `tm retry` revives"));
    }
    if processes == 0 && gauges.half.count + gauges.confirmed.count > 0 {
        wants.push(
            "messages are on their way, and no process that takes them up has announced itself".to_owned(),
        );
    }
    let unanswered =
        if pauses.iter().any(Pause::stops_check_backs) { &[] } else { gauges.unanswered.as_slice() };
    for (answered_by, count) in unanswered {
        wants.push(format!("{count} half wait for {answered_by}, and nobody asks it"));
    }
    if !wants.is_empty() {
        return format!("Needs a person: {}.", wants.join("; "));
    }
    match oldest(gauges) {
        None => "Nothing waits for a person, and nothing is on its way.".to_owned(),
        Some(age) => {
            format!("Nothing waits for a person; the oldest message on its way is {} old.", seconds(age))
        }
    }
}
