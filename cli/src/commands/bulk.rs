//! `tm confirm`, `tm cancel`, `tm retry`: of all messages that meet conditions, as an operation.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use serde_json::json;
use transactional_message::{Filter, MessageId, MessageInfo, MessageState, Order};
use uuid::Uuid;

use super::decide::Verb;
use super::operations;
use super::why::{self, Group};
use crate::arguments::Decide;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

/// Read at once.
const PAGE: u32 = 500;
/// So many ids a preview shows.
const FIRST: usize = 10;

/// What an operation would be about.
struct Preview {
    messages: Vec<MessageId>,
    groups: Vec<Group>,
    newest: MessageInfo,
    oldest: MessageInfo,
    /// There are more than were asked for.
    more: bool,
}

pub(super) async fn run(
    session: &Session,
    output: &Output,
    verb: Verb,
    decide: &Decide,
) -> Result<Exit, Failure> {
    let Decide { conditions, bulk, reason, .. } = decide;
    if conditions.are_none() && !bulk.all {
        return Err(Failure::usage(format!(
            "no message is named: give ids, conditions, or --all for all that can be {}",
            verb.done()
        )));
    }
    let mut filter = conditions.clone().filter();
    filter.state.get_or_insert(match verb {
        Verb::Confirm | Verb::Cancel => MessageState::Parked,
        Verb::Retry => MessageState::Dead,
    });
    let Some(preview) = look(session, output, &filter, bulk.limit).await? else {
        return Err(Failure::new(Exit::NotFound, "no message meets the conditions"));
    };
    tell(output, verb, &preview, session.dry_run)?;
    if session.dry_run {
        return Ok(Exit::Done);
    }
    let count = preview.messages.len();
    session.consent.agree(&format!("This would {} {count} message(s)", verb.name())).await?;
    let order = Order::new(verb.action(), preview.messages, reason.as_str())
        .conditions(shown(&filter))
        .begins_in(bulk.begin_in)
        .per_second(bulk.rate)
        .look_for(bulk.look_for)
        .stop_after_failures(bulk.stop_after_failures);
    let admin = session.messenger.admin().by(&session.actor);
    let id = session.within(async { Ok(admin.order(&order).await?) }).await?;
    let begins = humantime::format_duration(bulk.begin_in);
    say(&format!("operation {id} begins in {begins}; `tm operations stop {id} --reason TEXT` stops it"));
    if bulk.detach {
        return left_to_others(session, output, id).await;
    }
    operations::follow(session, output, id).await
}

/// The messages as they are now: what comes later does not belong to them.
async fn look(
    session: &Session,
    output: &Output,
    filter: &Filter,
    limit: u32,
) -> Result<Option<Preview>, Failure> {
    let admin = session.messenger.admin();
    let (mut next, mut messages, mut groups) = (None, Vec::new(), BTreeMap::new());
    let (mut newest, mut oldest) = (None, None);
    loop {
        let left = limit - u32::try_from(messages.len()).unwrap_or(limit);
        let page = session.within(async { Ok(admin.search(filter, next, left.min(PAGE)).await?) }).await?;
        session.within(why::group(session, output, &page.messages, &mut groups)).await?;
        messages.extend(page.messages.iter().map(|message| message.id));
        newest = newest.or_else(|| page.messages.first().cloned());
        oldest = page.messages.last().cloned().or(oldest);
        next = page.next;
        if next.is_none() || messages.len() >= limit as usize {
            break;
        }
    }
    let groups = why::sorted(groups);
    Ok(newest.zip(oldest).map(|(newest, oldest)| Preview {
        messages,
        groups,
        newest,
        oldest,
        more: next.is_some(),
    }))
}

/// What it is about, by cause. Nothing is done yet, so it is a result only of a dry run.
fn tell(output: &Output, verb: Verb, preview: &Preview, is_result: bool) -> Result<(), Failure> {
    let Preview { messages, groups, newest, oldest, more } = preview;
    let (count, from, to) = (messages.len(), output.time(oldest.created_at), output.time(newest.created_at));
    let mut text = format!("{} {count} message(s), stored from {from} to {to}:\n", verb.name());
    for Group { count, because, example, .. } in groups {
        let _ = writeln!(text, "{count:>7}  {because} For example {example}");
    }
    if *more {
        text.push_str("There are more: these are the newest, and --limit says how many are taken\n");
    }
    if !is_result {
        say(text.trim_end());
        return Ok(());
    }
    let stored = |message: &MessageInfo| json!(message)["created_at"].clone();
    let first: Vec<_> = messages.iter().take(FIRST).collect();
    let all = json!({
        "action": verb.name(),
        "messages": count,
        "more": more,
        "groups": groups,
        "first": first,
        "newest": stored(newest),
        "oldest": stored(oldest),
    });
    output.one(&all, || text)
}

/// The conditions, for whoever looks into the operation later.
fn shown(filter: &Filter) -> String {
    let time =
        |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    let all = [
        ("state", filter.state.map(|state| state.to_string())),
        ("service", filter.service.clone()),
        ("function", filter.function.clone()),
        ("exchange", filter.exchange.clone()),
        ("key", filter.business_key.clone()),
        ("call", filter.call_id.map(|id| id.to_string())),
        ("type", filter.message_type.clone()),
        ("because", filter.reason.clone()),
        ("answered-by", filter.answered_by.clone()),
        ("since", time(filter.since)),
        ("until", time(filter.until)),
    ];
    let given = all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    given.collect::<Vec<_>>().join(", ")
}

/// Who carries it out, and how it can be stopped.
async fn left_to_others(session: &Session, output: &Output, id: Uuid) -> Result<Exit, Failure> {
    let admin = session.messenger.admin();
    let processes = session.within(async { Ok(admin.processes().await?) }).await?;
    if !processes.iter().any(|process| process.is_alive() && process.obeys_pauses) {
        say(&format!(
            "no process over this store that could has announced itself: `tm operations run {id}` carries it out"
        ));
    }
    operations::show_one(session, output, id).await
}
