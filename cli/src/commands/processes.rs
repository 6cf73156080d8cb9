//! `tm processes`

use serde_json::json;
use transactional_message::Finding;

use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say, seconds};

const COLUMNS: [&str; 10] = [
    "host",
    "pid",
    "version",
    "services",
    "delivers",
    "fences",
    "answers",
    "consumers",
    "started_at",
    "seen_at",
];

pub(super) async fn run(session: &Session, output: &Output) -> Result<Exit, Failure> {
    let processes = session.messenger.admin().processes().await?;
    let differences = Finding::differences(&processes);
    output.list("processes", &COLUMNS, &processes, json!({ "differences": differences }))?;
    if output.is_for_people() {
        if processes.is_empty() {
            say("no process has announced itself within a day");
        }
        for process in processes.iter().filter(|process| !process.is_alive()) {
            let silent = seconds(process.silent_for);
            say(&format!("{} {} has been silent for {silent}: it counts as gone", process.host, process.pid));
        }
        for difference in &differences {
            say(&format!("{}: {}", difference.what, difference.evidence));
        }
    }
    Ok(Exit::Done)
}
