//! The message store on MySQL: the verbs of the protocol and the workers.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Executor, MySql};
use uuid::Uuid;

use super::row::{advance, columns, insert, ours, renew, select_ours, transition};
use super::schema::{self, MESSAGE};
use super::{Lent, decoded, id_list, ids, late_now, name_list, names, now, pool, session, weaknesses};
use crate::database::millis;
use crate::database::network::{Bound, OwnPool, PATIENCE};
use crate::database::row::Reader;
use crate::error::Error;
use crate::message::state::{Applied, Event, State};
use crate::message::{AnsweredBy, Half, MessageId};
use crate::store::{Attempts, Bounds, Change, Claim, Flush, Hold, Postponement, Renewed, Store, StoreError};

/// A message store in a MySQL database.
#[derive(Debug)]
pub(crate) struct MySqlStore {
    pub(super) pool: OwnPool<MySql>,
    /// Renewals never queue behind other operations of this process.
    renewer: OwnPool<MySql>,
}

/// Connections for everything but renewals. An operation takes a few milliseconds.
const CONNECTIONS: u32 = 6;
const SESSION: &str = session!("2");

/// Which names in a list have rows that may be taken up now; and locks those rows of a name. From a holder only if
/// its lease lapsed before `?`. Rows that are locked are skipped: another process is just taking them.
macro_rules! due {
    ($whose:literal) => {
        (
            concat!(
                "SELECT name FROM ",
                names!(),
                // A value, and no EXISTS, which would be made of all that is there, whosever it is.
                " WHERE (SELECT 1 FROM tm_message WHERE ",
                $whose,
                " = name AND due_at <= ",
                now!(),
                " AND (held_by IS NULL OR due_at <= ?) ORDER BY due_at LIMIT 1) = 1"
            ),
            concat!(
                "SELECT id, held_by, octet_length(payload) FROM tm_message WHERE ",
                $whose,
                " = ? AND due_at <= ",
                now!(),
                " AND (held_by IS NULL OR due_at <= ?) ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED"
            ),
        )
    };
}

const HALVES: (&str, &str) = due!("state = 0 AND answered_by");
const CONFIRMED: (&str, &str) = due!("state = 1 AND service");

/// A row that may be claimed: its id, its holder, its size.
type Found = (MessageId, Option<Uuid>, i64);

impl MySqlStore {
    pub(crate) async fn open(options: MySqlConnectOptions) -> Result<Self, Error> {
        let store =
            Self { pool: pool(options.clone(), CONNECTIONS, SESSION), renewer: pool(options, 1, SESSION) };
        store
            .pool
            .reach()
            .await
            .map_err(|cause| cause.into_error("the message store could not be opened"))?;
        Ok(store)
    }

    async fn insert(&self, halves: &[&Half], state: State, hold: Hold) -> Result<(), StoreError> {
        let work = |mut lent: Lent| async move {
            insert(&mut lent, halves, state, hold).await?;
            Ok((lent, ()))
        };
        // One row is a transaction by itself.
        match halves {
            [_] => self.pool.run(work).await,
            _ => self.pool.transaction(PATIENCE, work).await,
        }
    }

    /// Takes what is due of each of `names`.
    async fn claim(
        &self,
        (busy, due): (&'static str, &'static str),
        names: String,
        bounds: Bounds,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        let lapsed_before = bounds.lapsed_before.map(millis);
        let busy = self.pool.fetch(busy, |query| query.bind(&names).bind(lapsed_before)).await?;
        let busy = &decoded::<(String,)>(&busy)?;
        if busy.is_empty() {
            return Ok(Claim::default());
        }
        // An even share for each, so that one's backlog does not keep the others waiting.
        let share = (i64::from(bounds.rows) / i64::try_from(busy.len()).unwrap_or(1)).max(1);
        let work = |mut lent: Lent| async move {
            let mut found = Vec::new();
            for (name,) in busy {
                let due = lent.query(due).bind(name).bind(lapsed_before).bind(share);
                found.extend(decoded::<Found>(&due.fetch_all(&mut *lent).await?)?);
            }
            let claim = take(&mut lent, found, bounds.bytes, hold).await?;
            Ok((lent, claim))
        };
        self.pool.transaction(PATIENCE, work).await
    }

    /// Moves all rows or none, and says whether it did. As a rule every row is in the state that it should
    /// be in, and this is all there is to do.
    async fn advance_all(
        &self,
        event: Event,
        from: &[State],
        changes: &[Change],
        hold: Option<Hold>,
    ) -> Result<bool, StoreError> {
        let ids = &changes.iter().map(|change| change.id).collect::<Vec<_>>();
        let work = |mut lent: Lent| async move {
            let all = advance(&mut lent, event, from, ids, hold).await? == ids.len() as u64;
            if !all {
                (&mut *lent).execute("ROLLBACK").await?;
            }
            Ok((lent, all))
        };
        match changes {
            [_] => self.pool.run(work).await,
            _ => self.pool.transaction(PATIENCE, work).await,
        }
    }
}

/// Takes rows that are locked, in the same transaction.
async fn take(lent: &mut Lent, found: Vec<Found>, bytes: usize, hold: Hold) -> Result<Claim, sqlx::Error> {
    let mut claim = Claim::default();
    let found = fitting(found, bytes);
    if found.is_empty() {
        return Ok(claim);
    }
    let list = id_list(&found.iter().map(|(id, _, _)| *id).collect::<Vec<_>>());
    lent.query(concat!(
        "UPDATE ",
        ids!(),
        " STRAIGHT_JOIN tm_message m ON m.id = UNHEX(c.id) SET m.held_by = ?, m.due_at = ",
        late_now!(),
        " + ?, m.attempts = m.attempts + (m.state = 0)"
    ))
    .bind(&list)
    .bind(hold.token)
    .bind(millis(hold.lease))
    .execute(&mut **lent)
    .await?;
    let rows = lent
        .query(concat!(
            "SELECT ",
            columns!(),
            " FROM tm_message WHERE id IN (SELECT UNHEX(c.id) FROM ",
            ids!(),
            ")"
        ))
        .bind(&list)
        .fetch_all(&mut **lent)
        .await?;
    for row in &rows {
        Reader(row).claimed(&mut claim);
    }
    for row in &mut claim.rows {
        row.taken_over = found.iter().any(|(id, holder, _)| *id == row.half.id && holder.is_some());
    }
    Ok(claim)
}

/// As many rows as fit, and one at least.
fn fitting(found: Vec<Found>, bytes: usize) -> Vec<Found> {
    let mut left = i64::try_from(bytes).unwrap_or(i64::MAX);
    let fits = |(place, (_, _, size)): &(usize, Found)| {
        left = left.saturating_sub(*size);
        left >= 0 || *place == 0
    };
    found.into_iter().enumerate().take_while(fits).map(|(_, row)| row).collect()
}

#[async_trait]
impl Store for MySqlStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(MESSAGE, &self.pool).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        schema::check(MESSAGE, &self.pool).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        weaknesses(&self.pool).await
    }

    async fn insert_halves(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        self.insert(halves, State::Half, hold).await
    }

    async fn insert_confirmed(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        self.insert(halves, State::Confirmed, hold).await
    }

    // How a commit is flushed is the whole server's setting.
    async fn apply(
        &self,
        event: Event,
        from: &[State],
        changes: &[Change],
        hold: Option<Hold>,
        _: Flush,
    ) -> Result<Vec<Applied>, StoreError> {
        if changes.iter().all(Change::is_plain) && self.advance_all(event, from, changes, hold).await? {
            return Ok(vec![Applied::Moved; changes.len()]);
        }
        let work = |mut lent: Lent| async move {
            let applied = transition(&mut lent, event, from, changes, hold).await?;
            Ok((lent, applied))
        };
        self.pool.transaction(PATIENCE, work).await?
    }

    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError> {
        let list = &id_list(ids);
        let work = |mut lent: Lent| async move {
            let ours = select_ours(&mut lent, ours!(""), list, hold.token).await?;
            let free = select_ours(&mut lent, ours!(" FOR UPDATE SKIP LOCKED"), list, hold.token).await?;
            // Without rows it writes nothing, but it fails where writing is not allowed.
            let clock = renew(&mut lent, &free, hold).await?;
            Ok((lent, (ours, free, clock)))
        };
        let (ours, free, clock) = self.renewer.transaction(PATIENCE, work).await?;
        Ok(Renewed {
            locked: ours.into_iter().filter(|id| !free.contains(id)).collect(),
            ids: free,
            database_clock: Duration::from_millis(clock.unsigned_abs()),
        })
    }

    async fn postpone(&self, postponements: &[Postponement]) -> Result<(), StoreError> {
        let sql = concat!(
            "UPDATE tm_message SET held_by = NULL, due_at = ",
            late_now!(),
            " + ?, attempts = greatest(0, attempts + ?), reason = coalesce(?, reason) ",
            "WHERE id = ? AND held_by = ? AND state IN (0, 1)"
        );
        for one in postponements {
            let attempts = match one.attempts {
                Attempts::Keep => 0,
                Attempts::Spend => 1_i64,
                Attempts::Refund => -1,
            };
            let bind = |query: Bound<MySql>| {
                query
                    .bind(millis(one.after))
                    .bind(attempts)
                    .bind(one.reason.as_deref())
                    .bind(one.id)
                    .bind(one.held_by)
            };
            self.pool.execute(sql, bind).await?;
        }
        Ok(())
    }

    async fn claim_halves(
        &self,
        askable: &[AnsweredBy],
        bounds: Bounds,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        self.claim(HALVES, name_list(askable), bounds, hold).await
    }

    async fn claim_confirmed(
        &self,
        services: &[String],
        bounds: Bounds,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        self.claim(CONFIRMED, name_list(services), bounds, hold).await
    }

    async fn close(&self) {
        self.renewer.close().await;
        self.pool.close().await;
    }
}
