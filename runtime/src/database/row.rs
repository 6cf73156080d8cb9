//! A row of the message store, read in the same way from every database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sqlx::{ColumnIndex, Decode, Row, Type};
use uuid::Uuid;

use crate::message::schedule::{NotBefore, Schedule};
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, Half, Message, MessageId};
use crate::store::{
    About, AuditRecord, Claim, ClaimedRow, Contents, Finished, Gauge, Gauges, HeldBy, HistoryEntry, Holder,
    ItemOutcome, MessageInfo, Operation, OperationItem, Pause, ProcessInfo, Progress, Stats, StoreError,
    Undecodable, read_history,
};

/// Counts what is not finished, by the indexes that have only that: the state, how many, how many of these have a time that has
/// not come, and the age of the oldest of the others. `zero` is the state's number, of the column's type; `now` the database's
/// clock.
macro_rules! unfinished {
    ($zero:literal, $now:expr) => {
        concat!(
            "SELECT ",
            $zero,
            ", count(*), NULL, ",
            $now,
            " - min(created_at) FROM tm_message WHERE state = 0 ",
            "UNION ALL SELECT 1, count(*), count(CASE WHEN deliver_at > ",
            $now,
            " THEN 1 END), ",
            $now,
            " - min(CASE WHEN deliver_at IS NULL THEN created_at WHEN deliver_at <= ",
            $now,
            " THEN deliver_at END) FROM tm_message WHERE state = 1 ",
            "UNION ALL SELECT state, count(*), NULL, NULL FROM tm_message WHERE state IN (4, 5) GROUP BY state"
        )
    };
}

/// Goes on with what is finished.
macro_rules! finished {
    () => {
        concat!(
            " UNION ALL SELECT state, count(*), NULL, NULL FROM tm_message WHERE state IN (2, 3) GROUP BY state ",
            "UNION ALL SELECT state, count(*), NULL, NULL FROM tm_message WHERE state = 6 GROUP BY state"
        )
    };
}

/// What is worth a look every few seconds: the state, how many, the age of the oldest, for how long the first has been due;
/// and who could answer for halves that have been due for so long. By the indexes that have only what is not finished (SQLite
/// takes one of several states only where these are named as in the index), of
/// which no more is read than 100 000 rows each time.
macro_rules! gauges {
    ($zero:literal, $long:literal, $now:expr) => {
        concat!(
            "SELECT ",
            $zero,
            ", NULL, count(*), ",
            $now,
            " - min(created_at), ",
            $now,
            " - min(CASE WHEN due_at <= ",
            $now,
            " THEN due_at END) FROM (SELECT created_at, due_at FROM tm_message WHERE state = 0 LIMIT 100000) halves ",
            "UNION ALL SELECT 1, NULL, count(*), ",
            $now,
            " - min(CASE WHEN deliver_at IS NULL THEN created_at WHEN deliver_at <= ",
            $now,
            " THEN deliver_at END), ",
            $now,
            " - min(CASE WHEN due_at <= ",
            $now,
            " THEN due_at END) FROM (SELECT created_at, deliver_at, due_at FROM tm_message WHERE state = 1 LIMIT 100000) confirmed ",
            "UNION ALL SELECT 4, NULL, count(*), ",
            $now,
            " - min(created_at), NULL FROM (SELECT created_at FROM tm_message WHERE state IN (4, 5) AND state = 4 LIMIT 100000) parked ",
            "UNION ALL SELECT 5, NULL, count(*), ",
            $now,
            " - min(created_at), NULL FROM (SELECT created_at FROM tm_message WHERE state IN (4, 5) AND state = 5 LIMIT 100000) dead ",
            "UNION ALL SELECT 0, answered_by, count(*), NULL, NULL FROM (SELECT answered_by FROM tm_message ",
            "WHERE state = 0 AND due_at <= ",
            $now,
            " - ",
            $long,
            " LIMIT 100000) unanswered GROUP BY answered_by"
        )
    };
}

/// An operation with how far it is. Whether it was in vain is seen of the messages as they are now.
macro_rules! operations {
    ($now:expr, $which:literal) => {
        concat!(
            "SELECT o.id, o.about, o.created_at, o.begins_at, o.ended_at, o.stopped, o.held_until, ",
            $now,
            " AS read_at, (SELECT count(*) FROM tm_operation_item i WHERE i.operation_id = o.id) AS messages, ",
            "(SELECT count(*) FROM tm_operation_item i WHERE i.operation_id = o.id AND i.outcome = 'done') AS done, ",
            "(SELECT count(*) FROM tm_operation_item i WHERE i.operation_id = o.id AND i.outcome = 'refused') AS refused, ",
            "(SELECT count(*) FROM tm_operation_item i WHERE i.operation_id = o.id AND i.outcome = 'failed') AS failed, ",
            "(SELECT count(*) FROM tm_operation_item i JOIN tm_message m ON m.id = i.message_id ",
            "WHERE i.operation_id = o.id AND i.outcome = 'done' AND (m.state = 5 OR m.state = 1 AND m.attempts > 0 ",
            "AND m.held_by IS NULL AND m.due_at > ",
            $now,
            ")) AS failed_again FROM tm_operation o WHERE ",
            $which
        )
    };
}
pub(super) use {finished, gauges, operations, unfinished};

/// Reads one row.
pub(super) struct Reader<'r, R>(pub(super) &'r R);

impl<R: Row> Reader<'_, R>
where
    &'static str: ColumnIndex<R>,
    Uuid: Type<R::Database> + for<'v> Decode<'v, R::Database>,
    i64: Type<R::Database> + for<'v> Decode<'v, R::Database>,
    String: Type<R::Database> + for<'v> Decode<'v, R::Database>,
    Vec<u8>: Type<R::Database> + for<'v> Decode<'v, R::Database>,
{
    pub(super) fn id(&self) -> Result<MessageId, sqlx::Error> {
        self.0.try_get("id")
    }

    /// Adds the row to a claim, to its rows or to those that can't be read.
    pub(super) fn claimed(&self, claim: &mut Claim) {
        match (self.id(), self.stored()) {
            (Ok(_), Ok(stored)) => claim.rows.push(stored),
            (Ok(id), Err(why)) => claim.undecodable.push(Undecodable { id, why }),
            (Err(_), _) => tracing::error!("a row of tm_message has an id that is no UUID; it is left alone"),
        }
    }

    /// A row with all its columns, and `age`; `held_by` is its holder before the claim.
    pub(super) fn stored(&self) -> Result<ClaimedRow, String> {
        self.columns().map_err(|error| error.to_string())?
    }

    // The outer error is a column of the wrong type, the inner one a value that makes no sense.
    fn columns(&self) -> Result<Result<ClaimedRow, String>, sqlx::Error> {
        let row = self.0;
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
            business_key: row.try_get("message_key")?,
            headers,
            priority: row
                .try_get::<Option<i64>, _>("priority")?
                .and_then(|priority| u8::try_from(priority).ok()),
            schedule: Schedule {
                not_before: self.time("deliver_at")?.map(NotBefore::At),
                // What is left of it, the copy below knows.
                expires_in: None,
            },
            payload: row.try_get("payload")?,
        };
        let half = Half {
            id: row.try_get("id")?,
            call_id: row.try_get("call_id")?,
            service: row.try_get("service")?,
            package: row.try_get("package")?,
            function: row.try_get("function")?,
            answered_by,
            check_after: self.millis("check_after")?,
            expires: row.try_get::<Option<i64>, _>("expires_in")?.map(|left| Instant::now() + duration(left)),
            message,
        };
        Ok(Ok(ClaimedRow {
            half: Arc::new(half),
            attempts: self.attempts()?,
            age: self.millis("age")?,
            taken_over: row.try_get::<Option<Uuid>, _>("held_by")?.map(Holder::of),
        }))
    }

    /// What an operator is shown: also of a row that is of no use to the workers.
    pub(super) fn summary(&self) -> Result<MessageInfo, StoreError> {
        let row = self.0;
        let code: i64 = row.try_get("state")?;
        let answered_by: String = row.try_get("answered_by")?;
        Ok(MessageInfo {
            id: row.try_get("id")?,
            call_id: row.try_get("call_id")?,
            state: MessageState::from_code(code)
                .ok_or_else(|| StoreError::Refused(format!("unknown state {code}")))?,
            service: row.try_get("service")?,
            function: row.try_get("function")?,
            answerer: answered_by.parse().ok(),
            answered_by: match answered_by.parse() {
                Ok(AnsweredBy::Handler { name, .. }) => format!("handler:{name}"),
                _ => answered_by,
            },
            exchange: row.try_get("exchange")?,
            routing_key: row.try_get("routing_key")?,
            message_type: row.try_get("message_type")?,
            content_type: row.try_get("content_type")?,
            payload_bytes: row.try_get::<i64, _>("payload_bytes")?.unsigned_abs(),
            business_key: row.try_get("message_key")?,
            attempts: self.attempts()?,
            age: self.millis("age")?,
            created_at: self.past("created_at")?,
            due_at: self.time("due_at")?,
            held_by: row.try_get::<Option<Uuid>, _>("held_by")?.map(HeldBy::of),
            check_after: self.millis("check_after")?,
            deliver_at: self.time("deliver_at")?,
            expires_at: self.time("expires_at")?,
            finished_at: self.time("finished_at")?,
            reason: row.try_get("reason")?,
            read_at: self.past("read_at")?,
        })
    }

    /// What that leaves out.
    pub(super) fn contents(&self) -> Result<Contents, StoreError> {
        let headers: String = self.0.try_get("headers")?;
        Ok(Contents {
            headers: serde_json::from_str(&headers).unwrap_or_else(|_| vec![("?".into(), headers)]),
            payload: self.0.try_get("payload")?,
        })
    }

    /// What went wrong with a message.
    pub(super) fn history(&self) -> Result<Vec<HistoryEntry>, sqlx::Error> {
        let text: Option<String> = self.0.try_get("history")?;
        Ok(text.as_deref().map(read_history).unwrap_or_default())
    }

    /// A record of a decision.
    pub(super) fn audit_record(&self) -> Result<AuditRecord, sqlx::Error> {
        let row = self.0;
        Ok(AuditRecord {
            id: row.try_get("id")?,
            at: self.past("at")?,
            message_id: Some(row.try_get::<Uuid, _>("message_id")?)
                .filter(|id| !id.is_nil())
                .map(MessageId::from_uuid),
            subject: row.try_get("subject")?,
            action: row.try_get("action")?,
            user: row.try_get("actor")?,
            via: row.try_get("via")?,
            reason: row.try_get("reason")?,
            evidence: row.try_get("evidence")?,
        })
    }

    /// A pause; none of something that a newer version knows, and we don't.
    pub(super) fn pause(&self) -> Result<Option<Pause>, sqlx::Error> {
        let row = self.0;
        let Ok(what) = row.try_get::<String, _>("what")?.parse() else { return Ok(None) };
        Ok(Some(Pause {
            what,
            reason: row.try_get("reason")?,
            user: row.try_get("actor")?,
            via: row.try_get("via")?,
            began_at: self.past("began_at")?,
            ends_at: self.past("ends_at")?,
            remaining: self.millis("remaining")?,
        }))
    }

    /// An operation; none that a newer version ordered, in a way that we can't read.
    pub(super) fn operation(&self) -> Result<Option<Operation>, sqlx::Error> {
        let row = self.0;
        let about: String = row.try_get("about")?;
        let Ok(about) = serde_json::from_str::<About>(&about) else { return Ok(None) };
        let (begins_at, ended_at, read_at) =
            (self.past("begins_at")?, self.time("ended_at")?, self.past("read_at")?);
        let stopped: Option<String> = row.try_get("stopped")?;
        let done = self.count("done")?;
        let progress = match ended_at {
            Some(_) if stopped.is_some() => Progress::Stopped,
            Some(_) => Progress::Done,
            None => match self.time("held_until")? {
                None => Progress::Waiting,
                Some(until) if until > read_at => Progress::Running,
                Some(_) => Progress::Interrupted,
            },
        };
        Ok(Some(Operation {
            id: row.try_get("id")?,
            progress,
            action: about.action,
            reason: about.reason,
            conditions: about.conditions,
            user: about.user,
            via: about.via,
            messages: self.count("messages")?,
            done,
            refused: self.count("refused")?,
            failed: self.count("failed")?,
            failed_again: self.count("failed_again")?,
            per_second: about.per_second,
            look_for: Duration::from_millis(about.look_for_millis),
            stop_after_failures: about.stop_after_failures,
            created_at: self.past("created_at")?,
            begins_at,
            ended_at,
            stopped,
            begins_in: begins_at.duration_since(read_at).unwrap_or_default(),
        }))
    }

    pub(super) fn operation_item(&self) -> Result<OperationItem, sqlx::Error> {
        let row = self.0;
        let outcome: Option<String> = row.try_get("outcome")?;
        Ok(OperationItem {
            position: self.count("position")?,
            message_id: row.try_get("message_id")?,
            outcome: outcome.as_deref().and_then(ItemOutcome::named),
            why: row.try_get("why")?,
            record_id: row.try_get("record_id")?,
        })
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(super) fn uuid(&self) -> Result<Uuid, sqlx::Error> {
        self.0.try_get("id")
    }

    fn count(&self, column: &'static str) -> Result<u64, sqlx::Error> {
        Ok(self.0.try_get::<i64, _>(column)?.unsigned_abs())
    }

    /// What a process said of itself; none if a newer one said what we can't read.
    pub(super) fn process(&self) -> Result<Option<ProcessInfo>, sqlx::Error> {
        let about: String = self.0.try_get("about")?;
        let Ok(mut process) = serde_json::from_str::<ProcessInfo>(&about) else { return Ok(None) };
        process.token = self.0.try_get("token")?;
        process.started_at = self.past("started_at")?;
        process.seen_at = self.past("seen_at")?;
        process.silent_for = self.millis("silent_for")?;
        Ok(Some(process))
    }

    pub(super) fn finished(&self) -> Result<Finished, sqlx::Error> {
        let answered_by: String = self.0.try_get("answered_by")?;
        Ok(Finished {
            id: self.0.try_get("id")?,
            call_id: self.0.try_get("call_id")?,
            answered_by: answered_by.parse().ok(),
        })
    }

    fn attempts(&self) -> Result<u32, sqlx::Error> {
        Ok(u32::try_from(self.0.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX))
    }

    fn time(&self, column: &'static str) -> Result<Option<SystemTime>, sqlx::Error> {
        let millis = self.0.try_get::<Option<i64>, _>(column)?;
        Ok(millis.and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(duration(millis))))
    }

    fn past(&self, column: &'static str) -> Result<SystemTime, sqlx::Error> {
        Ok(self.time(column)?.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn millis(&self, column: &'static str) -> Result<Duration, sqlx::Error> {
        Ok(Duration::from_millis(self.0.try_get::<i64, _>(column)?.unsigned_abs()))
    }
}

/// Of milliseconds that are not before zero.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(millis.max(0).unsigned_abs())
}

/// What an event means for a row that it did not move.
fn verdict(id: MessageId, event: Event, code: i64) -> Result<Applied, StoreError> {
    MessageState::from_code(code)
        .map(|state| event.verdict(state))
        .ok_or_else(|| StoreError::Refused(format!("message {id} has the unknown state {code}")))
}

/// What an event did to rows, of which it has `moved` some; of the others it is known what state they are in.
pub(super) fn outcomes(
    event: Event,
    ids: &[MessageId],
    moved: &HashSet<MessageId>,
    states: &HashMap<MessageId, i64>,
) -> Result<Vec<Applied>, StoreError> {
    let outcome = |id: &MessageId| match states.get(id) {
        _ if moved.contains(id) => Ok(Applied::Moved),
        None => Ok(Applied::Missing),
        Some(code) => verdict(*id, event, *code),
    };
    ids.iter().map(outcome).collect()
}

/// A row of what [`gauges!`] asks for.
pub(super) type GaugeRow = (i64, Option<String>, i64, Option<i64>, Option<i64>);

pub(super) fn gauges_of(rows: Vec<GaugeRow>) -> Gauges {
    let mut gauges = Gauges::default();
    for (code, answered_by, count, oldest, due_for) in rows {
        let count = count.unsigned_abs();
        let one = Gauge { count, oldest: oldest.map(duration), due_for: due_for.map(duration) };
        match (MessageState::from_code(code), answered_by) {
            (_, Some(answered_by)) => gauges.unanswered.push((answered_by, count)),
            (Some(MessageState::Half), None) => gauges.half = one,
            (Some(MessageState::Confirmed), None) => gauges.confirmed = one,
            (Some(MessageState::Parked), None) => gauges.parked = one,
            (Some(MessageState::Dead), None) => gauges.dead = one,
            _ => {}
        }
    }
    gauges
}

/// Counts by state, each with the age of the oldest where that matters.
pub(super) fn stats(rows: Vec<(i64, i64, Option<i64>, Option<i64>)>) -> Stats {
    let mut stats = Stats::default();
    for (code, count, delayed, age) in rows {
        stats.delayed += delayed.map_or(0, i64::unsigned_abs);
        if let Some(state) = MessageState::from_code(code) {
            *stats.count_mut(state) = count.unsigned_abs();
        }
        let age = age.map(|age| Duration::from_millis(age.max(0).unsigned_abs()));
        stats.oldest_unfinished = stats.oldest_unfinished.max(age);
    }
    stats
}
