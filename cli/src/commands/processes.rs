//! `tm processes`

use serde_json::json;
use transactional_message::ProcessInfo;

use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say, seconds};

const COLUMNS: [&str; 9] =
    ["host", "pid", "version", "services", "fences", "answers", "consumers", "started_at", "seen_at"];

pub(super) async fn run(session: &Session, output: &Output) -> Result<Exit, Failure> {
    let processes = session.messenger.admin().processes().await?;
    let differences = differences(&processes);
    output.list("processes", &COLUMNS, &processes, json!({ "differing_settings": differences }))?;
    if output.is_for_people() {
        if processes.is_empty() {
            say("no process has announced itself within a day");
        }
        for process in processes.iter().filter(|process| !process.is_alive()) {
            let silent = seconds(process.silent_for);
            say(&format!("{} {} has been silent for {silent}: it counts as gone", process.host, process.pid));
        }
        for difference in &differences {
            say(difference);
        }
    }
    Ok(Exit::Done)
}

/// Settings that are not the same in all living processes of a service.
pub(super) fn differences(processes: &[ProcessInfo]) -> Vec<String> {
    let alive: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
    let mut found = Vec::new();
    for (index, one) in alive.iter().enumerate() {
        let same_service = |other: &&&ProcessInfo| other.services.first() == one.services.first();
        let Some(other) = alive[..index].iter().find(same_service) else { continue };
        for (name, value) in &one.settings {
            if let Some(theirs) = other.settings.get(name).filter(|theirs| *theirs != value) {
                found.push(format!(
                    "the setting `{name}` differs: {} {} has {value}, {} {} has {theirs}",
                    one.host, one.pid, other.host, other.pid
                ));
            }
        }
    }
    found
}
