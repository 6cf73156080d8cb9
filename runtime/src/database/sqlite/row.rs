//! One row of the message store: written, and moved.

use sqlx::SqliteConnection;

use super::now;
use crate::database::{millis, row};
use crate::message::state::{Applied, Event, State, mask};
use crate::message::{Half, MessageId};
use crate::store::{Change, Hold, StoreError};

/// The columns of a whole row that is being claimed, and its age. A question is counted.
macro_rules! columns {
    () => {
        concat!(
            "id, call_id, answered_by, function, check_after, held_by, ",
            "attempts + (state = 0) AS attempts, exchange, ",
            "routing_key, message_type, content_type, message_key, headers, payload, ",
            "max(0, ",
            now!(),
            " - created_at) AS age"
        )
    };
}
pub(super) use columns;

/// The columns that a person is shown.
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

/// Applies `event` to one row, if it is in one of the states `from`.
pub(super) async fn move_row(
    tx: &mut SqliteConnection,
    event: Event,
    from: &[State],
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
    .bind(change.reason.as_deref())
    .bind(hold.map(|hold| hold.token))
    .bind(hold.map_or(0, |hold| millis(hold.lease)))
    .bind(change.id)
    .bind(mask(from))
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
    code.map_or(Ok(Applied::Missing), |code| row::verdict(change.id, event, code))
}

/// Ids as a JSON list of hexadecimal text, the only kind of list that SQLite can be given.
pub(super) fn id_list(ids: &[MessageId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    serde_json::json!(ids).to_string()
}
