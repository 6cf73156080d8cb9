//! One row of the message store: written, moved, read.

use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::{millis, now};
use crate::message::state::{Applied, Event, State};
use crate::message::{Half, Message, MessageId};
use crate::store::{Change, Hold, MessageInfo, StoreError, Stored};

/// The columns that [`read`] takes, and the age.
macro_rules! columns {
    () => {
        concat!(
            "id, call_id, state, answered_by, function, check_after, held_by, attempts, exchange, ",
            "routing_key, message_type, content_type, message_key, headers, payload, ",
            "max(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use columns;

/// The columns that [`summarize`] takes.
macro_rules! summary {
    () => {
        concat!(
            "id, call_id, state, function, answered_by, exchange, routing_key, message_key, attempts, reason, ",
            "max(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use summary;

/// Inserts a message in `state`, held by us.
pub(super) async fn insert_row(
    tx: &mut SqliteConnection,
    half: &Half,
    state: State,
    hold: Hold,
) -> Result<(), StoreError> {
    // A retry of an insert whose answer was lost finds its own rows: not an error.
    sqlx::query(concat!(
        "INSERT INTO tm_message (id, call_id, state, answered_by, function, check_after, due_at, held_by, ",
        "created_at, exchange, routing_key, message_type, content_type, message_key, headers, payload) ",
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ",
        now!(),
        " + ?7, ?8, ",
        now!(),
        ", ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT (id) DO NOTHING"
    ))
    .bind(half.id)
    .bind(half.call_id)
    .bind(state.code())
    .bind(half.answered_by.to_string())
    .bind(&half.function)
    .bind(millis(half.check_after))
    .bind(millis(hold.lease))
    .bind(hold.token)
    .bind(&half.message.exchange)
    .bind(&half.message.routing_key)
    .bind(&half.message.message_type)
    .bind(&half.message.content_type)
    .bind(&half.message.key)
    .bind(serde_json::json!(half.message.headers).to_string())
    .bind(&half.message.payload)
    .execute(tx)
    .await?;
    Ok(())
}

/// Applies `event` to one row, if its state allows it.
pub(super) async fn move_row(
    tx: &mut SqliteConnection,
    event: Event,
    change: &Change,
    hold: Option<Hold>,
) -> Result<Applied, StoreError> {
    let target = event.target();
    let moved = sqlx::query(concat!(
        "UPDATE tm_message SET state = ?1, payload = coalesce(?2, payload), reason = coalesce(?3, reason), ",
        "answered_by = coalesce(?9, answered_by), ",
        "attempts = CASE ?1 WHEN 1 THEN 0 WHEN 5 THEN attempts + 1 ELSE attempts END, ",
        "held_by = CASE WHEN ?1 = 1 THEN ?4 END, ",
        "due_at = CASE WHEN ?1 = 1 THEN ",
        now!(),
        " + ?5 END, finished_at = CASE WHEN ?1 IN (2, 3) THEN ",
        now!(),
        " END WHERE id = ?6 AND ((1 << state) & ?7) <> 0 AND (?8 IS NULL OR held_by = ?8)"
    ))
    .bind(target.code())
    .bind(&change.payload)
    .bind(&change.reason)
    .bind(hold.map(|hold| hold.token))
    .bind(hold.map_or(0, |hold| millis(hold.lease)))
    .bind(change.id)
    .bind(event.source_mask())
    .bind(change.held_by)
    .bind(change.answered_by.as_ref().map(ToString::to_string))
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 1 {
        return Ok(Applied::Moved);
    }
    let code: Option<i64> = sqlx::query_scalar("SELECT state FROM tm_message WHERE id = ?1")
        .bind(change.id)
        .fetch_optional(&mut *tx)
        .await?;
    match code {
        None => Ok(Applied::Missing),
        Some(code) => State::from_code(code).map(|state| event.verdict(state)).ok_or_else(|| {
            StoreError::Refused(format!("message {} has the unknown state {code}", change.id))
        }),
    }
}

/// Reads a row that was selected with [`columns`].
pub(super) fn read(row: &SqliteRow) -> Result<Stored, String> {
    read_columns(row).map_err(|error| error.to_string())?
}

// The outer error is a column of the wrong type, the inner one a value that makes no sense.
fn read_columns(row: &SqliteRow) -> Result<Result<Stored, String>, sqlx::Error> {
    let code: i64 = row.try_get("state")?;
    let Some(state) = State::from_code(code) else { return Ok(Err(format!("unknown state {code}"))) };
    let answered_by = match row.try_get::<String, _>("answered_by")?.parse() {
        Ok(answered_by) => answered_by,
        Err(why) => return Ok(Err(why)),
    };
    let headers = match serde_json::from_str(&row.try_get::<String, _>("headers")?) {
        Ok(headers) => headers,
        Err(why) => return Ok(Err(format!("headers: {why}"))),
    };
    let message = Message {
        exchange: row.try_get("exchange")?,
        routing_key: row.try_get("routing_key")?,
        message_type: row.try_get("message_type")?,
        content_type: row.try_get("content_type")?,
        key: row.try_get("message_key")?,
        headers,
        payload: row.try_get("payload")?,
    };
    let half = Half {
        id: row.try_get("id")?,
        call_id: row.try_get("call_id")?,
        function: row.try_get("function")?,
        answered_by,
        check_after: Duration::from_millis(row.try_get::<i64, _>("check_after")?.unsigned_abs()),
        message,
    };
    Ok(Ok(Stored {
        half,
        state,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
        age: Duration::from_millis(row.try_get::<i64, _>("age")?.unsigned_abs()),
        taken_over: row.try_get::<Option<Uuid>, _>("held_by")?.is_some(),
    }))
}

/// Reads what a person is shown: also of a row that is of no use to the workers.
pub(super) fn summarize(row: &SqliteRow) -> Result<MessageInfo, StoreError> {
    let code: i64 = row.try_get("state")?;
    Ok(MessageInfo {
        id: row.try_get("id")?,
        call_id: row.try_get("call_id")?,
        state: State::from_code(code).ok_or_else(|| StoreError::Refused(format!("unknown state {code}")))?,
        function: row.try_get("function")?,
        answered_by: row.try_get("answered_by")?,
        exchange: row.try_get("exchange")?,
        routing_key: row.try_get("routing_key")?,
        key: row.try_get("message_key")?,
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
        age: Duration::from_millis(row.try_get::<i64, _>("age")?.unsigned_abs()),
        reason: row.try_get("reason")?,
    })
}

/// Ids as a JSON list of hexadecimal text, the only kind of list that SQLite can be given.
pub(super) fn id_list(ids: &[MessageId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    serde_json::json!(ids).to_string()
}
