//! The statements that write and move messages. A list of anything is JSON here, the only kind that SQLite can be
//! given.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqlitePool};
use uuid::Uuid;

use super::{now, patiently};
use crate::database::{millis, row};
use crate::message::state::{Applied, Event, MessageState, mask};
use crate::message::{Half, MessageId};
use crate::store::{Attempts, Hold, Release, StoreError, Transition};

/// The columns of a whole row that is being claimed, and its age.
macro_rules! columns {
    () => {
        concat!(
            "id, call_id, service, package, answered_by, function, check_after, held_by, attempts, exchange, ",
            "routing_key, message_type, content_type, message_key, headers, payload, deliver_at, priority, ",
            "expires_at - ",
            now!(),
            " AS expires_in, max(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use columns;

/// A message's history with an entry more: one JSON object a line, of which the oldest go where it gets long.
macro_rules! with_entry {
    ($history:literal, $state:literal, $reason:literal) => {
        concat!(
            "substr(coalesce(",
            $history,
            " || char(10), '') || '{\"at\":' || ",
            now!(),
            " || ',\"state\":' || ",
            $state,
            " || ',\"reason\":' || json_quote(substr(",
            $reason,
            ", 1, 400)) || '}', -4000)"
        )
    };
}
pub(super) use with_entry;

/// Messages to be inserted in one statement, held by us.
pub(super) struct Insertion {
    rows: String,
    payloads: Vec<u8>,
    state: MessageState,
    hold: Hold,
}

impl Insertion {
    pub(super) fn new(halves: &[&Half], state: MessageState, hold: Hold) -> Self {
        let mut payloads = Payloads::new();
        let row = |half: &&Half| {
            let message = &half.message;
            json!([
                half.id.as_uuid().simple(),
                half.call_id.as_uuid().simple(),
                half.service,
                half.package,
                half.answered_by.to_string(),
                half.function,
                millis(half.check_after),
                message.exchange,
                message.routing_key,
                message.message_type,
                message.content_type,
                message.business_key,
                json!(message.headers).to_string(),
                payloads.place(&message.payload),
                message.payload.len(),
                message.schedule.delay().map(millis),
                message.schedule.expires_after().map(millis),
                message.priority,
            ])
        };
        let rows = halves.iter().map(row).collect::<Value>().to_string();
        Self { rows, payloads: payloads.0, state, hold }
    }

    /// The statement. A retry of one whose answer was lost finds its own rows: not an error.
    pub(super) fn query(&self) -> Query<'_, Sqlite, SqliteArguments> {
        let sql = concat!(
            "INSERT INTO main.tm_message (state, due_at, held_by, created_at, id, call_id, service, package, answered_by, ",
            "function, check_after, exchange, routing_key, message_type, content_type, message_key, headers, payload, ",
            "deliver_at, expires_at, priority) SELECT ?1, ",
            now!(),
            " + ?2, ?3, ",
            now!(),
            ", unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, ",
            "value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, ",
            "substr(?5, value ->> 13, value ->> 14), ",
            now!(),
            " + (value ->> 15), ",
            now!(),
            " + (value ->> 16), value ->> 17 FROM json_each(?4) WHERE true ON CONFLICT (id) DO NOTHING"
        );
        sqlx::query(sql)
            .bind(self.state.code())
            .bind(millis(self.hold.lease))
            .bind(self.hold.token)
            .bind(&self.rows)
            .bind(&self.payloads)
    }
}

/// Applies `event` to rows that are in one of the states `from`, in one statement; a second one finds
/// out about those that it did not move.
pub(super) async fn apply(
    writer: &SqlitePool,
    event: Event,
    from: &[MessageState],
    transitions: &[Transition],
    hold: Option<Hold>,
) -> Result<Vec<Applied>, StoreError> {
    let mut payloads = Payloads::new();
    let row = |transition: &Transition| {
        json!([
            transition.id.as_uuid().simple(),
            transition.held_by.map(Uuid::simple),
            transition.reason.as_deref(),
            transition.answered_by.as_ref().map(ToString::to_string),
            transition.payload.as_ref().map(|payload| payloads.place(payload)),
            transition.payload.as_ref().map(Vec::len),
        ])
    };
    let rows = transitions.iter().map(row).collect::<Value>().to_string();
    let sql = concat!(
        "UPDATE tm_message AS m SET state = ?1, payload = coalesce(c.payload, m.payload), ",
        "reason = coalesce(c.reason, m.reason), answered_by = coalesce(c.answered_by, m.answered_by), ",
        "history = CASE WHEN ?1 IN (4, 5, 6) AND c.reason IS NOT NULL THEN ",
        with_entry!("m.history", "?1", "c.reason"),
        " ELSE m.history END, ",
        "attempts = CASE ?1 WHEN 1 THEN 0 WHEN 5 THEN m.attempts + 1 ELSE m.attempts END, ",
        "held_by = CASE WHEN ?1 = 1 THEN ?2 END, ",
        "due_at = CASE WHEN ?1 = 1 THEN max(coalesce(m.deliver_at, 0), ",
        now!(),
        " + ?3) END, finished_at = CASE WHEN ?1 IN (2, 3, 6) THEN ",
        now!(),
        " END FROM (SELECT unhex(value ->> 0) AS id, unhex(value ->> 1) AS held_by, value ->> 2 AS reason, ",
        "value ->> 3 AS answered_by, substr(?6, value ->> 4, value ->> 5) AS payload FROM json_each(?5)) AS c ",
        "WHERE m.id = c.id AND ((1 << m.state) & ?4) <> 0 AND (c.held_by IS NULL OR m.held_by = c.held_by) RETURNING id"
    );
    let update = || {
        sqlx::query_scalar(sql)
            .bind(event.target().code())
            .bind(hold.map(|hold| hold.token))
            .bind(hold.map_or(0, |hold| millis(hold.lease)))
            .bind(mask(from))
            .bind(&rows)
            .bind(&payloads.0)
            .fetch_all(writer)
    };
    let moved: HashSet<MessageId> = patiently(update).await?.into_iter().collect();
    let ids: Vec<_> = transitions.iter().map(|transition| transition.id).collect();
    let others: Vec<_> = ids.iter().filter(|id| !moved.contains(id)).copied().collect();
    row::outcomes(event, &ids, &moved, &states(writer, &others).await?)
}

async fn states(pool: &SqlitePool, ids: &[MessageId]) -> Result<HashMap<MessageId, i64>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT id, state FROM tm_message WHERE id IN (SELECT unhex(value) FROM json_each(?1))";
    let rows: Vec<(MessageId, i64)> = sqlx::query_as(sql).bind(id_list(ids)).fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

/// Gives rows back that are still held by the holder that the release names.
pub(super) async fn release(writer: &SqlitePool, releases: &[Release]) -> Result<(), StoreError> {
    let row = |one: &Release| {
        let attempts = i64::from(one.attempts == Attempts::Spend);
        json!([
            one.id.as_uuid().simple(),
            one.held_by.simple(),
            millis(one.after),
            attempts,
            one.reason.as_deref()
        ])
    };
    let rows = releases.iter().map(row).collect::<Value>().to_string();
    let sql = concat!(
        "UPDATE tm_message AS m SET held_by = NULL, due_at = max(CASE m.state WHEN 1 THEN coalesce(m.deliver_at, 0) ELSE 0 END, ",
        now!(),
        " + c.after), attempts = m.attempts + c.attempts, reason = coalesce(c.reason, m.reason), ",
        "history = CASE WHEN c.reason IS NULL OR c.attempts = 0 AND c.reason = m.reason THEN m.history ELSE ",
        with_entry!("m.history", "m.state", "c.reason"),
        " END ",
        "FROM (SELECT unhex(value ->> 0) AS id, unhex(value ->> 1) AS held_by, value ->> 2 AS after, ",
        "value ->> 3 AS attempts, value ->> 4 AS reason FROM json_each(?1)) AS c ",
        "WHERE m.id = c.id AND m.held_by = c.held_by AND m.state IN (0, 1)"
    );
    patiently(|| sqlx::query(sql).bind(&rows).execute(writer)).await?;
    Ok(())
}

/// The payloads of a list. They are not text, so they are all in one value, and JSON says where each is.
struct Payloads(Vec<u8>);

impl Payloads {
    /// With a byte that is nobody's: of an empty value, SQLite's `substr` makes `NULL`.
    fn new() -> Self {
        Self(vec![0])
    }

    /// Adds one. Says where it begins, counted from 1.
    fn place(&mut self, payload: &[u8]) -> usize {
        let place = self.0.len() + 1;
        self.0.extend_from_slice(payload);
        place
    }
}

/// Ids as a JSON list of hexadecimal text.
pub(super) fn id_list<I: Into<Uuid> + Copy>(ids: &[I]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| (*id).into().simple().to_string()).collect();
    json!(ids).to_string()
}
