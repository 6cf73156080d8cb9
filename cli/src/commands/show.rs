//! `tm show`

use std::fmt::Write;

use serde_json::json;
use transactional_message::{AuditFilter, AuditRecord, Evidence, Filter, HistoryEntry, MessageInfo};

use super::export::Whole;
use super::{find, why};
use crate::arguments::Show;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};

/// Decisions, and messages of the call, that are shown.
const MOST: u32 = 100;

pub(super) async fn run(session: &Session, output: &Output, show: &Show) -> Result<Exit, Failure> {
    let admin = session.messenger.admin().by(&session.actor);
    let message = find::message(&session.messenger, &show.one.id, 1).await?;
    let explanation = admin.explain(message.id).await?;
    let evidence = admin.evidence(message.id).await.unwrap_or_else(|elsewhere| unknown(&elsewhere));
    let audit = admin.audit(&AuditFilter::default().message(message.id), MOST).await?;
    let history = admin.history(message.id).await?;
    let of_call = admin.search(&Filter::default().call_id(message.call_id), None, MOST).await?.messages;
    let others: Vec<_> = of_call.iter().map(|other| other.id).filter(|id| *id != message.id).collect();
    let reason = show.reason.as_deref().unwrap_or_default();
    let contents = if show.payload { admin.contents(message.id, reason).await? } else { None };

    let said = explanation.say(output.language, |time| output.time(time));
    let whole = serde_json::to_value(Whole::new(message.clone(), contents.as_ref())).unwrap_or_default();
    let all = json!({
        "id": message.id,
        "message": whole,
        "explanation": why::explained(&explanation, &said),
        "evidence": evidence,
        "history": history,
        "audit": audit,
        "other_messages_of_the_call": others,
    });
    output.one(&all, || {
        let mut text = of_message(&message, output);
        line(&mut text, "fence", &evidence.to_string());
        why::lines(&mut text, &said);
        for other in &others {
            line(&mut text, "same call", &other.to_string());
        }
        for HistoryEntry { at, state, reason, .. } in &history {
            line(&mut text, "history", &plain(&format!("{}: {reason} ({state})", output.time(*at))));
        }
        for record in &audit {
            line(&mut text, "decided", &of_record(record, output));
        }
        for field in ["headers", "payload", "payload_base64"] {
            if let Some(value) = whole.get(field) {
                let shown = value.as_str().map_or_else(|| value.to_string(), plain);
                if !value.is_null() {
                    line(&mut text, field, &shown);
                }
            }
        }
        text
    })?;
    Ok(Exit::Done)
}

/// This command line was not told of the fence.
fn unknown(elsewhere: &transactional_message::Error) -> Evidence {
    Evidence::Unknown(format!("{elsewhere}; give it by --fence NAME=URL"))
}

fn of_message(message: &MessageInfo, output: &Output) -> String {
    let mut text = String::new();
    let mut put = |name: &str, value: String| line(&mut text, name, &plain(&value));
    put("message", format!("{}, {}", message.id, message.state));
    put("call", message.call_id.to_string());
    put("function", format!("{}, service {}", message.function, message.service));
    put("to", format!("exchange {}, routing key {}", message.exchange, message.routing_key));
    if let Some(key) = &message.business_key {
        put("key", key.clone());
    }
    let kind = message.message_type.as_deref().map_or_else(String::new, |kind| format!(", type {kind}"));
    put("payload", format!("{} bytes of {}{kind}", message.payload_bytes, message.content_type));
    put("answered by", message.answered_by.clone());
    put("stored", output.time(message.created_at));
    for (name, time) in [
        ("due", message.due_at),
        ("deliver at", message.deliver_at),
        ("expires", message.expires_at),
        ("finished", message.finished_at),
    ] {
        if let Some(time) = time {
            put(name, output.time(time));
        }
    }
    put("attempts", message.attempts.to_string());
    if let Some(reason) = &message.reason {
        put("reason", reason.clone());
    }
    text
}

fn of_record(record: &AuditRecord, output: &Output) -> String {
    let AuditRecord { action, user, via, reason, evidence, .. } = record;
    let when = output.time(record.at);
    let seen = evidence.as_ref().map_or_else(String::new, |evidence| format!("; {evidence}"));
    plain(&format!("{action} {when} by {user} ({via}): {reason}{seen}"))
}

pub(super) fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<12} {value}");
}
