//! `tm export`

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use transactional_message::{Contents, MessageInfo};

use super::list::COLUMNS;
use crate::arguments::Export;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, is_closed, say};

/// Read at once.
const PAGE: u32 = 500;

/// A message with what may be private.
#[derive(Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    message: MessageInfo,
    #[serde(flatten)]
    contents: Option<Value>,
}

impl Whole {
    /// A payload that is text is left as it is; any other is in Base64.
    pub(super) fn new(message: MessageInfo, contents: Option<&Contents>) -> Self {
        Self { message, contents: contents.map(of_contents) }
    }
}

/// Headers and payload.
pub(super) fn of_contents(contents: &Contents) -> Value {
    let text = std::str::from_utf8(&contents.payload).ok();
    let base64 = text.is_none().then(|| BASE64_STANDARD.encode(&contents.payload));
    json!({ "headers": contents.headers, "payload": text, "payload_base64": base64 })
}

pub(super) async fn run(session: &Session, output: &Output, export: Export) -> Result<Exit, Failure> {
    let mut output = output.in_pages()?;
    if export.payload && output.is_of_ids() {
        return Err(Failure::usage(
            "--format ids writes no payloads: leave --payload out, or take jsonl or csv",
        ));
    }
    let mut columns = COLUMNS.to_vec();
    if export.payload {
        columns.extend(["headers", "payload", "payload_base64"]);
    }
    let (filter, admin) = (export.conditions.filter(), session.messenger.admin().by(&session.actor));
    let reason = export.reason.unwrap_or_default();
    let (mut next, mut count) = (None, 0);
    loop {
        let page = session.within(async { Ok(admin.search(&filter, next, PAGE).await?) }).await?;
        count += page.messages.len();
        if !session.dry_run {
            let mut all = Vec::with_capacity(page.messages.len());
            for message in page.messages {
                let contents = if export.payload {
                    session.within(async { Ok(admin.contents(message.id, &reason).await?) }).await?
                } else {
                    None
                };
                all.push(Whole::new(message, contents.as_ref()));
            }
            output.page(&columns, &all)?;
        }
        next = page.next.filter(|_| !is_closed());
        if next.is_none() {
            break;
        }
    }
    if session.dry_run {
        say(&format!("{count} messages would be written"));
    }
    Ok(Exit::Done)
}
