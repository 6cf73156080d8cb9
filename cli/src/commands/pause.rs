//! `tm pause`, `tm resume`

use serde_json::json;
use transactional_message::{Pausable, ProcessInfo};

use crate::arguments::{Pause, Resume};
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

pub(super) async fn pause(session: &Session, output: &Output, pause: Pause) -> Result<Exit, Failure> {
    let Pause { what, lasts, reason } = pause;
    let what = what.pausable();
    if reason.trim().is_empty() {
        return Err(Failure::usage("--reason is empty: everybody who wonders about the pause reads it"));
    }
    let lasting = humantime::format_duration(lasts);
    if session.dry_run {
        say(&format!("{what} would be paused for {lasting}"));
        return Ok(Exit::Done);
    }
    session.consent.make_sure(&format!("This would pause {what} for {lasting}")).await?;
    let admin = session.messenger.admin().by(&session.actor);
    session.within(async { Ok(admin.pause(&what, lasts, &reason).await?) }).await?;
    let disobedient = session.within(async { Ok(disobedient(&admin.processes().await?)) }).await?;
    output.one(
        &json!({ "paused": what, "seconds": lasts.as_secs_f64(), "not_obeyed_by": disobedient }),
        || format!("paused {what} for {lasting}; processes obey within 5 s\n"),
    )?;
    for process in disobedient {
        say(&format!("not obeyed by {process}: its version knows no pauses"));
    }
    warn_of_unknown(session, &what).await
}

pub(super) async fn resume(session: &Session, output: &Output, resume: Resume) -> Result<Exit, Failure> {
    let what = resume.what.pausable();
    if session.dry_run {
        say(&format!("{what} would go on"));
        return Ok(Exit::Done);
    }
    session.consent.make_sure(&format!("This would let {what} go on")).await?;
    let admin = session.messenger.admin().by(&session.actor);
    let was_paused = admin.resume(&what, &resume.reason).await?;
    if !was_paused {
        return Err(Failure::new(Exit::NotFound, format!("{what} is not paused: `tm status` says what is")));
    }
    output.one(&json!({ "resumed": what }), || format!("{what} goes on, within 5 s\n"))?;
    Ok(Exit::Done)
}

/// Those that are there, and of a version that knows no pauses.
fn disobedient(processes: &[ProcessInfo]) -> Vec<String> {
    let disobedient = processes.iter().filter(|process| process.is_alive() && !process.obeys_pauses);
    disobedient
        .map(|process| format!("{} {} (version {})", process.host, process.pid, process.version))
        .collect()
}

/// A name that nobody knows may be a slip of the pen.
async fn warn_of_unknown(session: &Session, what: &Pausable) -> Result<Exit, Failure> {
    let Pausable::Queue(name) = what else { return Ok(Exit::Done) };
    let processes = session.within(async { Ok(session.messenger.admin().processes().await?) }).await?;
    if !processes.iter().any(|process| process.consumers.contains(name)) {
        say(&format!("no process that has announced itself consumes the queue `{name}`: see `tm processes`"));
    }
    Ok(Exit::Done)
}
