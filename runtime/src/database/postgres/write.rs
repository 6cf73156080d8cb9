//! The statements that write and move messages.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use sqlx::Postgres;

use super::{clock, decoded, now, state_in};
use crate::database::network::{Bound, RetryingPool};
use crate::database::{millis, row};
use crate::message::state::{Applied, Event, MessageState, mask};
use crate::message::{Half, Message, MessageId};
use crate::store::{Flush, Hold, StoreError, Transition};

/// The columns of a row that is being claimed, and its age; `held_by` is its holder before.
macro_rules! columns {
    () => {
        concat!(
            "m.id, m.call_id, m.service, m.package, m.answered_by, m.function, m.check_after, due.held_by, m.attempts, m.exchange, ",
            "m.routing_key, m.message_type, m.content_type, m.message_key, m.headers, m.payload, m.deliver_at, m.priority, ",
            "m.expires_at - ",
            now!(),
            " AS expires_in, ",
            "greatest(0, ",
            now!(),
            " - m.created_at) AS age"
        )
    };
}
pub(super) use columns;

/// A message's history with an entry more: one JSON object a line, of which the oldest go where it gets long.
macro_rules! with_entry {
    ($history:literal, $state:literal, $reason:literal) => {
        concat!(
            "right(concat(",
            $history,
            " || chr(10), '{\"at\":', ",
            now!(),
            ", ',\"state\":', ",
            $state,
            ", ',\"reason\":', to_json(left(",
            $reason,
            ", 400)), '}'), 4000)"
        )
    };
}
pub(super) use with_entry;

/// Inserts `rows`. A retry of an insert whose answer was lost finds its own rows: not an error.
macro_rules! into_messages {
    ($($rows:expr),+) => {
        concat!(
            "INSERT INTO tm_message (state, due_at, held_by, created_at, id, call_id, service, package, answered_by, function, ",
            "check_after, exchange, routing_key, message_type, content_type, message_key, headers, payload, deliver_at, expires_at, priority) ",
            $($rows,)+
            " ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// Inserts messages in `state`, held by us, in one statement.
pub(super) async fn insert(
    pool: &RetryingPool<Postgres>,
    halves: &[&Half],
    state: MessageState,
    hold: Hold,
) -> Result<(), StoreError> {
    if let [half] = halves {
        return insert_one(pool, half, state, hold).await;
    }
    let text = |of: fn(&Half) -> &str| halves.iter().map(|half| of(half)).collect::<Vec<_>>();
    let optional =
        |of: fn(&Message) -> Option<&str>| halves.iter().map(|half| of(&half.message)).collect::<Vec<_>>();
    let sql = into_messages!(
        "SELECT $1, ",
        now!(),
        " + $2, $3, ",
        now!(),
        ", id, call_id, service, package, answered_by, function, check_after, exchange, routing_key, message_type, content_type, ",
        "message_key, headers, payload, ",
        now!(),
        " + delay, ",
        now!(),
        " + expires_after, priority FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], ",
        "$11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bytea[], $18::bigint[], $19::bigint[], ",
        "$20::bigint[]) AS r (id, call_id, service, package, answered_by, function, check_after, exchange, routing_key, ",
        "message_type, content_type, message_key, headers, payload, delay, expires_after, priority)"
    );
    let bind = |query: Bound<Postgres>| {
        query
            .bind(state.code())
            .bind(millis(hold.lease))
            .bind(hold.token)
            .bind(halves.iter().map(|half| half.id).collect::<Vec<_>>())
            .bind(halves.iter().map(|half| half.call_id).collect::<Vec<_>>())
            .bind(text(|half| &half.service))
            .bind(halves.iter().map(|half| half.package.as_deref()).collect::<Vec<_>>())
            .bind(halves.iter().map(|half| half.answered_by.to_string()).collect::<Vec<_>>())
            .bind(text(|half| &half.function))
            .bind(halves.iter().map(|half| millis(half.check_after)).collect::<Vec<_>>())
            .bind(text(|half| &half.message.exchange))
            .bind(text(|half| &half.message.routing_key))
            .bind(optional(|message| message.message_type.as_deref()))
            .bind(text(|half| &half.message.content_type))
            .bind(optional(|message| message.business_key.as_deref()))
            .bind(halves.iter().map(|half| json!(half.message.headers).to_string()).collect::<Vec<_>>())
            .bind(halves.iter().map(|half| half.message.payload.as_slice()).collect::<Vec<_>>())
            .bind(halves.iter().map(|half| half.message.schedule.delay().map(millis)).collect::<Vec<_>>())
            .bind(
                halves
                    .iter()
                    .map(|half| half.message.schedule.expires_after().map(millis))
                    .collect::<Vec<_>>(),
            )
            .bind(halves.iter().map(|half| half.message.priority.map(i64::from)).collect::<Vec<_>>())
    };
    pool.execute(sql, bind).await?;
    Ok(())
}

/// The same for one, which a lone call waits for: without lists, it takes the server half the time.
async fn insert_one(
    pool: &RetryingPool<Postgres>,
    half: &Half,
    state: MessageState,
    hold: Hold,
) -> Result<(), StoreError> {
    let sql = into_messages!(
        "VALUES ($1, ",
        clock!(),
        " + $2, $3, ",
        clock!(),
        ", $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, ",
        clock!(),
        " + $18, ",
        clock!(),
        " + $19, $20)"
    );
    let message = &half.message;
    let (answered_by, headers) = (half.answered_by.to_string(), json!(message.headers).to_string());
    let bind = |query: Bound<Postgres>| {
        query
            .bind(state.code())
            .bind(millis(hold.lease))
            .bind(hold.token)
            .bind(half.id)
            .bind(half.call_id)
            .bind(&half.service)
            .bind(&half.package)
            .bind(&answered_by)
            .bind(&half.function)
            .bind(millis(half.check_after))
            .bind(&message.exchange)
            .bind(&message.routing_key)
            .bind(&message.message_type)
            .bind(&message.content_type)
            .bind(&message.business_key)
            .bind(&headers)
            .bind(&message.payload)
            .bind(message.schedule.delay().map(millis))
            .bind(message.schedule.expires_after().map(millis))
            .bind(message.priority.map(i64::from))
    };
    pool.execute(sql, bind).await?;
    Ok(())
}

/// Applies `event` to rows that are in one of the states `from`, in one statement; a second one finds
/// out about those that it did not move.
pub(super) async fn apply(
    pool: &RetryingPool<Postgres>,
    event: Event,
    from: &[MessageState],
    transitions: &[Transition],
    hold: Option<Hold>,
    flush: Flush,
) -> Result<Vec<Applied>, StoreError> {
    let sql = concat!(
        // Takes effect because the statement asks for what `set_config` returns.
        "WITH flush AS MATERIALIZED (SELECT set_config('synchronous_commit', ",
        "CASE WHEN $10 THEN 'off' ELSE current_setting('synchronous_commit') END, true) AS configured) ",
        "UPDATE tm_message m SET state = $7, payload = coalesce(c.payload, m.payload), ",
        "reason = coalesce(c.reason, m.reason), answered_by = coalesce(c.answered_by, m.answered_by), ",
        "history = CASE WHEN $7 IN (4, 5, 6) AND c.reason IS NOT NULL THEN ",
        with_entry!("m.history", "$7", "c.reason"),
        " ELSE m.history END, ",
        "attempts = CASE $7 WHEN 1 THEN 0 WHEN 5 THEN m.attempts + 1 ELSE m.attempts END, ",
        "held_by = CASE WHEN $7 = 1 THEN $8::uuid END, ",
        "due_at = CASE WHEN $7 = 1 THEN greatest(m.deliver_at, ",
        now!(),
        " + $9) END, finished_at = CASE WHEN $7 IN (2, 3, 6) THEN ",
        now!(),
        " END FROM (SELECT c.* FROM flush, unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::text[]) ",
        "AS c (id, held_by, payload, reason, answered_by) WHERE flush.configured IS NOT NULL ORDER BY c.id) c ",
        "WHERE m.id = c.id AND ",
        state_in!("m.", "$6"),
        " AND (c.held_by IS NULL OR m.held_by = c.held_by) RETURNING m.id"
    );
    let ids: Vec<_> = transitions.iter().map(|transition| transition.id).collect();
    let answered_by = |transition: &Transition| transition.answered_by.as_ref().map(ToString::to_string);
    let bind = |query: Bound<Postgres>| {
        query
            .bind(&ids)
            .bind(transitions.iter().map(|transition| transition.held_by).collect::<Vec<_>>())
            .bind(transitions.iter().map(|transition| transition.payload.as_deref()).collect::<Vec<_>>())
            .bind(transitions.iter().map(|transition| transition.reason.as_deref()).collect::<Vec<_>>())
            .bind(transitions.iter().map(answered_by).collect::<Vec<_>>())
            .bind(mask(from))
            .bind(event.target().code())
            .bind(hold.map(|hold| hold.token))
            .bind(hold.map_or(0, |hold| millis(hold.lease)))
            .bind(flush == Flush::Later)
    };
    let rows = pool.fetch_since(Transition::all_undisturbed_since(transitions), sql, bind).await?;
    let moved: Vec<(MessageId,)> = decoded(&rows)?;
    let moved: HashSet<MessageId> = moved.into_iter().map(|(id,)| id).collect();
    let others: Vec<_> = ids.iter().filter(|id| !moved.contains(id)).copied().collect();
    row::outcomes(event, &ids, &moved, &states(pool, &others).await?)
}

async fn states(
    pool: &RetryingPool<Postgres>,
    ids: &[MessageId],
) -> Result<HashMap<MessageId, i64>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT id, state FROM tm_message WHERE id = ANY($1)";
    let rows: Vec<(MessageId, i64)> = decoded(&pool.fetch(sql, |query| query.bind(ids)).await?)?;
    Ok(rows.into_iter().collect())
}
