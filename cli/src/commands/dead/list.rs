//! `tm dead list`

use serde::Serialize;
use serde_json::Value;
use transactional_message::{DeadLetter, DeadLetters, ErrorKind};

use super::warn_of_looking;
use crate::arguments::dead::ListDead;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

const COLUMNS: [&str; 6] = ["queue", "dead_letters", "id", "reason", "attempts", "sent_at"];

/// The dead letters of a queue.
#[derive(Serialize)]
struct OfQueue {
    #[serde(rename = "queue")]
    name: String,
    dead_letters: u32,
    /// The first.
    #[serde(flatten)]
    first: Value,
}

pub(super) async fn run(
    session: &Session,
    output: &Output,
    letters: &mut DeadLetters<'_>,
    list: ListDead,
) -> Result<Exit, Failure> {
    let named = !list.queues.is_empty();
    let queues: Vec<_> = if named {
        list.queues
    } else {
        session.messenger.admin().consumed_queues().await?.into_iter().collect()
    };
    let (mut all, mut missing, mut refused) = (Vec::new(), false, false);
    for queue in queues {
        let depth = match letters.depth(&queue).await {
            Ok(Some(depth)) => depth,
            Ok(None) => {
                say(&format!("there is no queue `{queue}.dead`"));
                missing = true;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Refused => {
                say(&Failure::from(error).text);
                refused = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let first = match letters.look(&queue, u32::from(depth > 0)).await {
            Ok(first) => first,
            // It is counted all the same.
            Err(error) if error.kind() == ErrorKind::Refused => {
                say(&Failure::from(error).text);
                refused = true;
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        warn_of_looking(&queue, &first);
        all.push(OfQueue { name: queue, dead_letters: depth, first: of_first(first.first()) });
    }
    output.list("queues", &COLUMNS, &all, Value::Null)?;
    if all.is_empty() && !missing && !refused && output.is_for_people() {
        say("no consumer of RabbitMQ's queues has announced itself within a day: name the queues");
    }
    Ok(match (missing && named, refused) {
        (true, _) => Exit::NotFound,
        (false, true) => Exit::Partly,
        (false, false) => Exit::Done,
    })
}

fn of_first(first: Option<&DeadLetter>) -> Value {
    let whole = first.map(|first| serde_json::to_value(first).unwrap_or_default()).unwrap_or_default();
    let fields = ["id", "reason", "attempts", "sent_at"];
    fields
        .iter()
        .map(|field| ((*field).to_owned(), whole[*field].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
