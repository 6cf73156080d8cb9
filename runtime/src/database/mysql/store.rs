//! The message store on MySQL: the verbs of the protocol and the workers.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Executor, MySql};
use uuid::Uuid;

use super::schema::{self, MESSAGE};
use super::session::{check_server, find, session};
use super::write::{advance, columns, insert, ours, renew, select_ours, transition, with_entry};
use super::{Checkout, decoded, id_list, ids, late_now, name_list, names, now, patience, weaknesses};
use crate::database::login::{Login, PATIENCE};
use crate::database::millis;
use crate::database::network::{Bound, RetryingPool};
use crate::database::refusal::not_opened;
use crate::database::row::Reader;
use crate::error::Error;
use crate::message::limits::Limits;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, Half, MessageId};
use crate::sql::TablePlace;
use crate::store::{
    Attempts, Claim, ClaimLimits, Flush, Hold, Holder, Release, Renewed, Store, StoreError, Transition,
};

/// A message store in a MySQL database.
#[derive(Debug)]
pub(crate) struct MySqlStore {
    pub(super) pool: RetryingPool<MySql>,
    /// Renewals never queue behind other operations of this process.
    renewer: RetryingPool<MySql>,
}

/// Connections for everything but renewals. An operation takes a few milliseconds.
const CONNECTIONS: u32 = 6;
const SESSION: &str = session!("2");

/// Which names in a list have rows that may be taken up now; and locks those rows of a name. From a holder only if
/// its lease lapsed before `?`. Rows that are locked are skipped: another process is just taking them. By the index
/// that has them in their order, so that no more are locked than are taken.
macro_rules! due {
    ($index:literal, $whose:literal) => {
        (
            concat!(
                "SELECT name FROM ",
                names!(),
                // A value, and no EXISTS, which would be made of all that is there, whosever it is.
                " WHERE (SELECT 1 FROM tm_message FORCE INDEX (",
                $index,
                ") WHERE ",
                $whose,
                " = name AND due_at <= ",
                now!(),
                " AND (held_by IS NULL OR due_at <= ?) ORDER BY due_at LIMIT 1) = 1"
            ),
            concat!(
                "SELECT id, held_by, octet_length(payload) FROM tm_message FORCE INDEX (",
                $index,
                ") WHERE ",
                $whose,
                " = ? AND due_at <= ",
                now!(),
                " AND (held_by IS NULL OR due_at <= ?) ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED"
            ),
        )
    };
}

const HALVES: (&str, &str) = due!("tm_message_half", "state = 0 AND answered_by");
const CONFIRMED: (&str, &str) = due!("tm_message_due", "state = 1 AND service");

/// A row that may be claimed: its id, its holder, its size.
type Found = (MessageId, Option<Uuid>, i64);

impl MySqlStore {
    pub(crate) async fn open(login: Login<MySql>, place: &TablePlace) -> Result<Self, Error> {
        let open = async {
            let (login, _) = find(login, place).await?;
            let renewer = RetryingPool::new(&login, 1, SESSION);
            Ok(Self { pool: RetryingPool::new(&login, CONNECTIONS, SESSION), renewer })
        };
        open.await.map_err(|cause| not_opened(cause, "the message store could not be opened"))
    }

    async fn insert(&self, halves: &[&Half], state: MessageState, hold: Hold) -> Result<(), StoreError> {
        let work = |mut checkout: Checkout| async move {
            insert(&mut checkout, halves, state, hold).await?;
            Ok((checkout, ()))
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
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        let lapsed_before = limits.lapsed_before.map(millis);
        let busy = self.pool.fetch(busy, |query| query.bind(&names).bind(lapsed_before)).await?;
        let busy = &decoded::<(String,)>(&busy)?;
        if busy.is_empty() {
            return Ok(Claim::default());
        }
        // An even share for each, so that one's backlog does not keep the others waiting.
        let share = (i64::from(limits.rows) / i64::try_from(busy.len()).unwrap_or(1)).max(1);
        let work = |mut checkout: Checkout| async move {
            let mut found = Vec::new();
            for (name,) in busy {
                let due = checkout.query(due).bind(name).bind(lapsed_before).bind(share);
                found.extend(decoded::<Found>(&due.fetch_all(&mut *checkout).await?)?);
            }
            let claim = take(&mut checkout, found, limits.bytes, hold).await?;
            Ok((checkout, claim))
        };
        self.pool.transaction(PATIENCE, work).await
    }

    /// Moves all rows or none, and says whether it did. As a rule every row is in the state that it should
    /// be in, and this is all there is to do.
    async fn advance_all(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
    ) -> Result<bool, StoreError> {
        let ids = &transitions.iter().map(|transition| transition.id).collect::<Vec<_>>();
        let work = |mut checkout: Checkout| async move {
            let all = advance(&mut checkout, event, from, ids, hold).await? == ids.len() as u64;
            if !all {
                (&mut *checkout).execute("ROLLBACK").await?;
            }
            Ok((checkout, all))
        };
        self.pool.since(Transition::all_undisturbed_since(transitions), ids.len() > 1, work).await
    }
}

/// Takes rows that are locked, in the same transaction.
async fn take(
    checkout: &mut Checkout,
    found: Vec<Found>,
    bytes: usize,
    hold: Hold,
) -> Result<Claim, sqlx::Error> {
    let mut claim = Claim::default();
    let found = fitting(found, bytes);
    if found.is_empty() {
        return Ok(claim);
    }
    let list = id_list(&found.iter().map(|(id, _, _)| *id).collect::<Vec<_>>());
    checkout.query(concat!(
        "UPDATE ",
        ids!(),
        " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted SET m.held_by = ?, m.due_at = ",
        late_now!(),
        " + ? + IF(m.state = 0, m.check_after, 0)"
    ))
    .bind(&list)
    .bind(hold.token)
    .bind(millis(hold.lease))
    .execute(&mut **checkout)
    .await?;
    let rows = checkout
        .query(concat!(
            "SELECT ",
            columns!(),
            " FROM ",
            ids!(),
            " STRAIGHT_JOIN tm_message m FORCE INDEX (PRIMARY) ON m.id = c.wanted"
        ))
        .bind(&list)
        .fetch_all(&mut **checkout)
        .await?;
    for row in &rows {
        Reader(row).claimed(&mut claim);
    }
    for row in &mut claim.rows {
        let before = found.iter().find(|(id, _, _)| *id == row.half.id);
        row.taken_over = before.and_then(|(_, holder, _)| *holder).map(Holder::of);
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

    async fn check_server(&self, limits: Limits) -> Result<(), StoreError> {
        check_server(&self.pool, limits).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        weaknesses(&self.pool).await
    }

    fn troubles(&self) -> u64 {
        self.pool.troubles()
    }

    fn switches(&self) -> u64 {
        self.pool.switches()
    }

    fn kind(&self) -> &'static str {
        "mysql"
    }

    async fn insert_halves(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        self.insert(halves, MessageState::Half, hold).await
    }

    async fn insert_confirmed(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        self.insert(halves, MessageState::Confirmed, hold.beyond_delays(halves)).await
    }

    // How a commit is flushed is the whole server's setting.
    async fn apply(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
        _: Flush,
    ) -> Result<Vec<Applied>, StoreError> {
        if transitions.iter().all(Transition::is_plain)
            && self.advance_all(event, from, transitions, hold).await?
        {
            return Ok(vec![Applied::Moved; transitions.len()]);
        }
        let work = |mut checkout: Checkout| async move {
            let applied = transition(&mut checkout, event, from, transitions, hold).await?;
            Ok((checkout, applied))
        };
        self.pool.since(Transition::all_undisturbed_since(transitions), true, work).await?
    }

    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError> {
        let list = &id_list(ids);
        let work = |mut checkout: Checkout| async move {
            let ours = select_ours(&mut checkout, ours!(""), list, hold.token).await?;
            let free = select_ours(&mut checkout, ours!(" FOR UPDATE SKIP LOCKED"), list, hold.token).await?;
            // Without rows it writes nothing, but it fails where writing is not allowed.
            let clock = renew(&mut checkout, &free, hold).await?;
            Ok((checkout, (ours, free, clock)))
        };
        let (ours, free, clock) = self.renewer.transaction(PATIENCE, work).await?;
        Ok(Renewed {
            locked: ours.into_iter().filter(|id| !free.contains(id)).collect(),
            ids: free,
            database_clock: Duration::from_millis(clock.unsigned_abs()),
        })
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let sql = concat!(
            "UPDATE tm_message SET held_by = NULL, due_at = greatest(IF(state = 1, coalesce(deliver_at, 0), 0), ",
            late_now!(),
            " + ?), history = IF(? IS NULL OR (? = 0 AND reason <=> ?), history, ",
            with_entry!("state"),
            "), attempts = attempts + ?, reason = coalesce(?, reason) ",
            "WHERE id = ? AND held_by = ? AND state IN (0, 1)"
        );
        for one in releases {
            let attempts = i64::from(one.attempts == Attempts::Spend);
            let bind = |query: Bound<MySql>| {
                query
                    .bind(millis(one.after))
                    .bind(one.reason.as_deref())
                    .bind(attempts)
                    .bind(one.reason.as_deref())
                    .bind(one.reason.as_deref())
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
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        self.claim(HALVES, name_list(askable), limits, hold).await
    }

    async fn enter(&self, id: MessageId, hold: Hold) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_message SET attempts = attempts + 1, due_at = ",
            late_now!(),
            " + ? + check_after WHERE id = ? AND held_by = ? AND state = 0"
        );
        let bind = |query: Bound<MySql>| query.bind(millis(hold.lease)).bind(id).bind(hold.token);
        Ok(self.pool.execute(sql, bind).await?.rows_affected() > 0)
    }

    async fn claim_confirmed(
        &self,
        services: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        self.claim(CONFIRMED, name_list(services), limits, hold).await
    }

    async fn close(&self) {
        self.renewer.close().await;
        self.pool.close().await;
    }
}
