//! `tm operations`

use std::fmt::Write;
use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::time::{interval, sleep};
use transactional_message::{Error, ItemOutcome, Operation, OperationItem, Progress};
use uuid::Uuid;

use crate::arguments::Operations;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

const COLUMNS: [&str; 11] = [
    "id",
    "progress",
    "action",
    "messages",
    "done",
    "refused",
    "failed",
    "failed_again",
    "user",
    "created_at",
    "reason",
];
/// How often it is looked how far an operation is that somebody else carries out, and said.
const LOOK: Duration = Duration::from_secs(1);
/// Of so many messages it is said why they were refused.
const REFUSALS: usize = 20;
const PAGE: u32 = 1000;
/// The beginning of an id is looked for among so many.
const NEWEST: u32 = 100;

pub(super) async fn run(session: &Session, output: &Output, operations: Operations) -> Result<Exit, Failure> {
    let admin = session.messenger.admin().by(&session.actor);
    match operations {
        Operations::List { limit } => {
            let all = session.within(async { Ok(admin.operations(None, limit).await?) }).await?;
            output.list("operations", &COLUMNS, &all, serde_json::Value::Null)?;
            if all.is_empty() && output.is_for_people() {
                say("nobody has ordered anything about many messages");
            }
            Ok(Exit::Done)
        }
        Operations::Show { id, limit } => show(session, output, &id, limit).await,
        Operations::Stop { id, reason } => {
            let Operation { id, .. } = find(session, &id).await?;
            if session.dry_run {
                say(&format!("operation {id} would be stopped"));
                return Ok(Exit::Done);
            }
            if !session.within(async { Ok(admin.stop_operation(id, &reason).await?) }).await? {
                return Err(Failure::new(Exit::Refused, format!("operation {id} is over")));
            }
            show_one(session, output, id).await
        }
        Operations::Run { id } => {
            let Operation { id, .. } = find(session, &id).await?;
            if session.dry_run {
                say(&format!("operation {id} would be carried out"));
                return Ok(Exit::Done);
            }
            session.consent.make_sure(&format!("This would carry out the operation {id}")).await?;
            follow(session, output, id).await
        }
    }
}

/// The one with this id, or, of the newest, whose id begins so.
async fn find(session: &Session, text: &str) -> Result<Operation, Failure> {
    let admin = session.messenger.admin();
    let found = if let Ok(id) = text.parse::<Uuid>() {
        session.within(async { Ok(admin.operation(id).await?) }).await?.into_iter().collect()
    } else {
        session.within(async { Ok(admin.operations(None, NEWEST).await?) }).await?
    };
    let text = text.to_ascii_lowercase();
    let mut found = found.into_iter().filter(|one| one.id.to_string().starts_with(&text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => Err(Failure::usage(format!(
            "`{text}` begins several ids, {} and {} among them: type more of it",
            one.id, other.id
        ))),
        _ => Err(Failure::new(
            Exit::NotFound,
            format!("there is no operation `{text}`: see `tm operations list`"),
        )),
    }
}

async fn show(session: &Session, output: &Output, id: &str, limit: u32) -> Result<Exit, Failure> {
    let operation = find(session, id).await?;
    let items = items(session, operation.id, limit).await?;
    if output.is_for_people() {
        say(&told(&operation));
        say(&format!(
            "{}; {} (by {}, {})",
            operation.conditions, operation.reason, operation.user, operation.via
        ));
    }
    let rest = json!({ "operation": operation });
    output.list("items", &["position", "id", "outcome", "why"], &items, rest)?;
    Ok(Exit::Done)
}

pub(super) async fn show_one(session: &Session, output: &Output, id: Uuid) -> Result<Exit, Failure> {
    let admin = session.messenger.admin();
    let operation = session.within(async { Ok(admin.operation(id).await?) }).await?;
    let Some(operation) = operation else { return Err(Failure::new(Exit::NotFound, "it is gone")) };
    output.one(&operation, || format!("{}\n", told(&operation)))?;
    Ok(Exit::Done)
}

async fn items(session: &Session, id: Uuid, limit: u32) -> Result<Vec<OperationItem>, Failure> {
    let admin = session.messenger.admin();
    let mut items: Vec<OperationItem> = Vec::new();
    while items.len() < limit as usize {
        let beyond = items.last().map_or(0, |item| item.position);
        let left = limit - u32::try_from(items.len()).unwrap_or(limit);
        let page = admin.operation_items(id, beyond, left.min(PAGE));
        let page = session.within(async { Ok(page.await?) }).await?;
        if page.is_empty() {
            break;
        }
        items.extend(page);
    }
    Ok(items)
}

/// Carries an operation out, or waits until somebody else has; says how far it is. An interruption stops it.
pub(super) async fn follow(session: &Session, output: &Output, id: Uuid) -> Result<Exit, Failure> {
    let admin = session.messenger.admin().by(&session.actor);
    let mut look = interval(LOOK);
    let mut said = String::new();
    // Beside what it stops, which may hold what it needs: SQLite has one writer.
    let mut stopping = pin!(async {
        let _ = ctrl_c().await;
        let reason = "interrupted at the terminal";
        session.within(async { Ok(admin.stop_operation(id, reason).await?) }).await
    });
    let mut is_stopped = false;
    let carry_out = async |after| {
        sleep(after).await;
        admin.carry_out(id).await
    };
    let mut carried_out = Box::pin(carry_out(Duration::ZERO));
    loop {
        tokio::select! {
            carried = &mut carried_out => {
                match carried {
                    Ok(operation) if operation.ended_at.is_some() => return end(session, output, id).await,
                    Ok(_) => {}
                    Err(error) => return goes_on(session, output, id, error).await,
                }
                // Somebody else's, who may be cut off as well.
                carried_out = Box::pin(carry_out(LOOK));
            }
            _ = look.tick() => {
                let operation = session.within(async { Ok(admin.operation(id).await?) }).await?;
                let now = operation.map(|operation| told(&operation)).unwrap_or_default();
                if output.is_for_people() && now != said {
                    say(&now);
                    said = now;
                }
            }
            stopped = &mut stopping, if !is_stopped => {
                is_stopped = true;
                stopped?;
            }
        }
    }
}

/// It could not be carried out to its end here; what was done is a result all the same.
async fn goes_on(session: &Session, output: &Output, id: Uuid, error: Error) -> Result<Exit, Failure> {
    let Failure { exit, text } = error.into();
    let text = format!("{text}; `tm operations run {id}` goes on, or any process over the store");
    let admin = session.messenger.admin();
    match session.within(async { Ok(admin.operation(id).await?) }).await {
        Ok(Some(operation)) if operation.decided() > 0 => {
            output.one(&operation, || format!("{}\n", told(&operation)))?;
            say(&text);
            Ok(if operation.done > 0 { Exit::Partly } else { exit })
        }
        _ => Err(Failure::new(exit, text)),
    }
}

async fn end(session: &Session, output: &Output, id: Uuid) -> Result<Exit, Failure> {
    let admin = session.messenger.admin();
    let operation = session.within(async { Ok(admin.operation(id).await?) }).await?;
    let Some(operation) = operation else { return Err(Failure::new(Exit::NotFound, "it is gone")) };
    output.one(&operation, || format!("{}\n", told(&operation)))?;
    if output.is_for_people() && operation.refused + operation.failed > 0 {
        let items = items(session, id, u32::MAX).await?;
        let not_done = items.iter().filter(|item| item.outcome.is_some_and(|one| one != ItemOutcome::Done));
        for item in not_done.take(REFUSALS) {
            say(item.why.as_deref().unwrap_or_default());
        }
        say(&format!("`tm operations show {id}` has all of them"));
    }
    Ok(match operation.progress {
        Progress::Done if operation.failures() == 0 => Exit::Done,
        _ if operation.done == 0 && operation.refused > 0 => Exit::Refused,
        // Nothing was done, as somebody wanted.
        _ if operation.done == 0 => Exit::Failed,
        _ => Exit::Partly,
    })
}

/// How far it is, in a sentence.
fn told(operation: &Operation) -> String {
    let Operation { id, progress, action, messages, done, refused, failed, failed_again, stopped, .. } =
        operation;
    let progress = match progress {
        Progress::Waiting => "waits",
        Progress::Running => "runs",
        Progress::Interrupted => "was interrupted",
        Progress::Stopped => "was stopped",
        _ => "is done",
    };
    let mut text = format!("operation {id} {progress}: {action} {done} of {messages}");
    for (count, what) in [(refused, "refused"), (failed, "failed"), (failed_again, "failed again")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    if let Some(stopped) = stopped {
        let _ = write!(text, "; stopped {stopped}");
    }
    text
}
