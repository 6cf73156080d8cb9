//! The statements that write and move messages.

use std::collections::HashMap;

use sqlx::MySql;
use uuid::Uuid;

use super::{Checkout, JSON, decoded, id_list, ids, late_now};
use crate::database::network::Bound;
use crate::database::{millis, row};
use crate::message::state::{Applied, Event, MessageState, mask};
use crate::message::{Half, MessageId};
use crate::store::{Hold, StoreError, Token, Transition};

/// The columns of a whole row, and its age.
macro_rules! columns {
    () => {
        concat!(
            "id, call_id, service, package, answered_by, `function`, check_after, held_by, attempts, exchange, ",
            "routing_key, message_type, content_type, message_key, headers, payload, deliver_at, priority, ",
            "expires_at - ",
            now!(),
            " AS expires_in, greatest(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use columns;

/// A message's history with an entry more: one JSON object a line, of which the oldest go where it gets long. `?` is the reason.
macro_rules! with_entry {
    ($state:literal) => {
        concat!(
            "RIGHT(CONCAT(IFNULL(CONCAT(history, CHAR(10 USING utf8mb4)), ''), '{\"at\":', ",
            late_now!(),
            ", ',\"state\":', ",
            $state,
            ", ',\"reason\":', JSON_QUOTE(LEFT(?, 400)), '}'), 4000)"
        )
    };
}
pub(super) use with_entry;

/// One row's values.
macro_rules! one {
    () => {
        concat!(
            "(",
            late_now!(),
            " + ?, ",
            late_now!(),
            ", ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ",
            late_now!(),
            " + ?, ",
            late_now!(),
            " + ?, ?)"
        )
    };
}

/// Twice as many rows, or values.
macro_rules! twice {
    ($one:expr) => {
        concat!($one, ", ", $one)
    };
}

macro_rules! eight {
    ($one:expr) => {
        twice!(twice!(twice!($one)))
    };
}

/// Inserts so many rows. A retry of an insert whose answer was lost finds its own: not an error.
macro_rules! insert {
    ($rows:expr) => {
        concat!(
            "INSERT INTO tm_message (due_at, created_at, id, call_id, service, package, state, answered_by, `function`, check_after, held_by, ",
            "exchange, routing_key, message_type, content_type, message_key, headers, payload, deliver_at, expires_at, priority) VALUES ",
            $rows,
            " ON DUPLICATE KEY UPDATE tm_message.id = tm_message.id"
        )
    };
}

/// Each is prepared, so there is not one for every number of rows.
const INSERTS: [(usize, &str); 7] = [
    (64, insert!(eight!(eight!(one!())))),
    (32, insert!(twice!(twice!(eight!(one!()))))),
    (16, insert!(twice!(eight!(one!())))),
    (8, insert!(eight!(one!()))),
    (4, insert!(twice!(twice!(one!())))),
    (2, insert!(twice!(one!()))),
    (1, insert!(one!())),
];

/// Bytes of rows in one statement, if there are several. [`check_server`](super::check_server) makes sure that the
/// server takes it.
pub(super) const PACKET: usize = 1024 * 1024;

/// Inserts messages in `state`, held by us, with as few statements as can be.
pub(super) async fn insert(
    checkout: &mut Checkout,
    halves: &[&Half],
    state: MessageState,
    hold: Hold,
) -> Result<(), sqlx::Error> {
    let mut rest = halves;
    let next = |rest| INSERTS.iter().find_map(|(rows, sql)| Some((fitting(rest, *rows)?, *sql)));
    while let Some(((halves, others), sql)) = next(rest) {
        let query = halves.iter().fold(checkout.query(sql), |query, half| bind(query, half, state, hold));
        query.execute(&mut **checkout).await?;
        rest = others;
    }
    Ok(())
}

/// The first so many rows, if there are, and if they may go together; and the others.
fn fitting<'h>(halves: &'h [&'h Half], rows: usize) -> Option<(&'h [&'h Half], &'h [&'h Half])> {
    let (first, others) = halves.split_at_checked(rows)?;
    let size = |half: &&Half| {
        let headers = half.message.headers.iter().map(|(name, value)| name.len() + value.len());
        half.message.payload.len() + headers.sum::<usize>() * JSON
    };
    (rows == 1 || first.iter().map(size).sum::<usize>() <= PACKET).then_some((first, others))
}

fn bind(query: Bound<MySql>, half: &Half, state: MessageState, hold: Hold) -> Bound<MySql> {
    query
        .bind(millis(hold.lease))
        .bind(half.id)
        .bind(half.call_id)
        .bind(&half.service)
        .bind(&half.package)
        .bind(state.code())
        .bind(half.answered_by.to_string())
        .bind(&half.function)
        .bind(millis(half.check_after))
        .bind(hold.token)
        .bind(&half.message.exchange)
        .bind(&half.message.routing_key)
        .bind(&half.message.message_type)
        .bind(&half.message.content_type)
        .bind(&half.message.business_key)
        .bind(serde_json::json!(half.message.headers).to_string())
        .bind(&half.message.payload)
        .bind(half.message.schedule.delay().map(millis))
        .bind(half.message.schedule.expires_after().map(millis))
        .bind(half.message.priority.map(i64::from))
}

/// Applies `event` to rows that are in one of the states `from`, in the transaction that is open.
pub(super) async fn transition(
    checkout: &mut Checkout,
    event: Event,
    from: &[MessageState],
    transitions: &[Transition],
    hold: Option<Hold>,
) -> Result<Result<Vec<Applied>, StoreError>, sqlx::Error> {
    let rows = lock(checkout, transitions).await?;
    let free = |transition: &&Transition| {
        rows.get(&transition.id).is_some_and(|(code, held_by)| {
            (1 << code) & mask(from) != 0 && (transition.held_by.is_none() || transition.held_by == *held_by)
        })
    };
    let free: Vec<&Transition> = transitions.iter().filter(free).collect();
    let ids: Vec<_> = free.iter().map(|transition| transition.id).collect();
    advance(checkout, event, from, &ids, hold).await?;
    for transition in &free {
        write_contents(checkout, transition).await?;
    }
    let all: Vec<_> = transitions.iter().map(|transition| transition.id).collect();
    let states = rows.into_iter().map(|(id, (code, _))| (id, code)).collect();
    Ok(row::outcomes(event, &all, &ids.into_iter().collect(), &states))
}

/// Moves those of so many rows that are in one of some states. In the order of the index: rows are locked
/// by it.
macro_rules! advance {
    ($ids:expr) => {
        concat!(
            "UPDATE tm_message FORCE INDEX (PRIMARY) SET state = ?, ",
            "attempts = CASE ? WHEN 1 THEN 0 WHEN 5 THEN attempts + 1 ELSE attempts END, held_by = ?, due_at = greatest(coalesce(deliver_at, 0), ",
            late_now!(),
            " + ?), finished_at = IF(? IN (2, 3, 6), ",
            late_now!(),
            ", NULL) WHERE (1 << state) & ? <> 0 AND id IN (",
            $ids,
            ")"
        )
    };
}

/// Each is prepared, so there is not one for every number of ids; the last one is repeated instead.
const ADVANCES: [(usize, &str); 4] = [
    (1, advance!("?")),
    (8, advance!(eight!("?"))),
    (64, advance!(eight!(eight!("?")))),
    (512, advance!(eight!(eight!(eight!("?"))))),
];

/// Moves those of the rows that are in one of the states `from`. Says how many that were.
pub(super) async fn advance(
    checkout: &mut Checkout,
    event: Event,
    from: &[MessageState],
    ids: &[MessageId],
    hold: Option<Hold>,
) -> Result<u64, sqlx::Error> {
    let code = event.target().code();
    let hold = hold.filter(|_| event.target() == MessageState::Confirmed);
    // Nobody holds what is finished, or waits for an operator, and it is never due.
    let due_in =
        (event.target() == MessageState::Confirmed).then(|| hold.map_or(0, |hold| millis(hold.lease)));
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let (longest, all) = ADVANCES[ADVANCES.len() - 1];
    let mut moved = 0;
    for ids in sorted.chunks(longest) {
        let (permits, sql) =
            ADVANCES.into_iter().find(|(permits, _)| ids.len() <= *permits).unwrap_or((longest, all));
        let query = checkout.query(sql).bind(code).bind(code).bind(hold.map(|hold| hold.token)).bind(due_in);
        let query = query.bind(code).bind(mask(from));
        let padded = ids.iter().chain(std::iter::repeat(&ids[ids.len() - 1])).take(permits);
        let query = padded.fold(query, Bound::bind);
        moved += query.execute(&mut **checkout).await?.rows_affected();
    }
    Ok(moved)
}

/// Locks rows, in the order of their ids; says the state and the holder of each.
async fn lock(
    checkout: &mut Checkout,
    transitions: &[Transition],
) -> Result<HashMap<MessageId, (i64, Option<Uuid>)>, sqlx::Error> {
    let ids: Vec<_> = transitions.iter().map(|transition| transition.id).collect();
    let rows = checkout
        .query(concat!(
            "SELECT m.id, m.state, m.held_by FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted FOR UPDATE"
        ))
        .bind(id_list(&ids))
        .fetch_all(&mut **checkout)
        .await?;
    let rows: Vec<(MessageId, i64, Option<Uuid>)> = decoded(&rows)?;
    Ok(rows.into_iter().map(|(id, state, held_by)| (id, (state, held_by))).collect())
}

/// Writes what a change has besides the state, if it has anything.
async fn write_contents(checkout: &mut Checkout, transition: &Transition) -> Result<(), sqlx::Error> {
    if transition.payload.is_none() && transition.reason.is_none() && transition.answered_by.is_none() {
        return Ok(());
    }
    checkout
        .query(concat!(
            "UPDATE tm_message SET payload = coalesce(?, payload), reason = coalesce(?, reason), ",
            "answered_by = coalesce(?, answered_by), history = IF(state IN (4, 5, 6) AND ? IS NOT NULL, ",
            with_entry!("state"),
            ", history) WHERE id = ?"
        ))
        .bind(&transition.payload)
        .bind(transition.reason.as_deref())
        .bind(transition.answered_by.as_ref().map(ToString::to_string))
        .bind(transition.reason.as_deref())
        .bind(transition.reason.as_deref())
        .bind(transition.id)
        .execute(&mut **checkout)
        .await?;
    Ok(())
}

/// Rows that their body or their publisher may keep: `?` is a list of ids, and the holder's token.
macro_rules! ours {
    ($lock:literal) => {
        concat!(
            "SELECT m.id FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted WHERE m.state = 0 OR (m.state = 1 AND m.held_by = ?)",
            $lock
        )
    };
}
pub(super) use ours;

pub(super) async fn select_ours(
    checkout: &mut Checkout,
    sql: &'static str,
    list: &str,
    token: Token,
) -> Result<Vec<MessageId>, sqlx::Error> {
    let rows = checkout.query(sql).bind(list).bind(token).fetch_all(&mut **checkout).await?;
    Ok(decoded::<(MessageId,)>(&rows)?.into_iter().map(|(id,)| id).collect())
}

/// Renews rows that we have locked. Returns the database's clock.
pub(super) async fn renew(
    checkout: &mut Checkout,
    free: &[MessageId],
    hold: Hold,
) -> Result<i64, sqlx::Error> {
    checkout.query(concat!(
        "UPDATE ",
        ids!(),
        " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted SET m.held_by = ?, m.due_at = ",
        late_now!(),
        " + ?, m.attempts = IF(m.state = 0, 0, m.attempts)"
    ))
    .bind(id_list(free))
    .bind(hold.token)
    .bind(millis(hold.lease))
    .execute(&mut **checkout)
    .await?;
    let clock = checkout.query(concat!("SELECT ", late_now!())).fetch_all(&mut **checkout).await?;
    Ok(decoded::<(i64,)>(&clock)?.first().map_or(0, |(clock,)| *clock))
}
