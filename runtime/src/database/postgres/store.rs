//! The message store on PostgreSQL: the verbs of the protocol and the workers.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Postgres;

use super::schema::{self, MESSAGE};
use super::session::{find, pool};
use super::write::{apply, columns, insert, with_entry};
use super::{decoded, now, state_in, weaknesses};
use crate::database::login::Login;
use crate::database::millis;
use crate::database::network::{Bound, RetryingPool};
use crate::database::refusal::not_opened;
use crate::database::row::Reader;
use crate::error::Error;
use crate::message::state::{Applied, Event, MessageState};
use crate::message::{AnsweredBy, Half, MessageId};
use crate::sql::TablePlace;
use crate::store::{
    Attempts, Claim, ClaimLimits, Flush, Hold, Release, Renewed, Store, StoreError, Transition,
};

/// A message store in a PostgreSQL database.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    pub(super) pool: RetryingPool<Postgres>,
    /// Renewals never queue behind other operations of this process.
    renewer: RetryingPool<Postgres>,
}

/// Connections for everything but renewals. An operation takes about a millisecond.
const CONNECTIONS: u32 = 6;

/// What a claim looks for. Locked rows are skipped: somebody else is just taking them.
macro_rules! found {
    ($whose:literal, $name:literal, $limit:literal) => {
        concat!(
            "SELECT id, held_by, due_at, octet_length(payload) AS size FROM tm_message WHERE ",
            due!($whose, $name),
            " ORDER BY due_at LIMIT ",
            $limit,
            " FOR UPDATE SKIP LOCKED"
        )
    };
}

/// Rows that may be taken up now; from a holder only if its lease lapsed before `$1`.
macro_rules! due {
    ($whose:literal, $name:literal) => {
        concat!($whose, $name, " AND due_at <= ", now!(), " AND (held_by IS NULL OR due_at <= $1)")
    };
}

/// Takes what was found: as many rows as fit into `$3` bytes, and one at least.
macro_rules! take {
    ($found:expr) => {
        concat!(
            "WITH found AS (",
            $found,
            "), due AS (SELECT id, held_by FROM (SELECT id, held_by, ",
            "row_number() OVER (ORDER BY due_at, id) AS place, sum(size) OVER (ORDER BY due_at, id) AS total ",
            "FROM found) sized WHERE total <= $3 OR place = 1) ",
            "UPDATE tm_message m SET held_by = $4, due_at = ",
            now!(),
            // By a list of ids too, or a plan that expects many of them reads the whole table.
            " + $5 + CASE m.state WHEN 0 THEN m.check_after ELSE 0 END FROM due WHERE m.id = due.id ",
            "AND m.id = ANY (ARRAY(SELECT id FROM due)) RETURNING ",
            columns!()
        )
    };
}

/// Which rows a holder renews: see [`Store::renew`].
macro_rules! ours {
    () => {
        concat!("(", state_in!("m.", "1"), " OR (", state_in!("m.", "2"), " AND m.held_by = $2))")
    };
}

/// An even share for each name in `$6`, so that one's backlog does not keep the others waiting.
macro_rules! take_of_each {
    ($whose:literal) => {
        take!(concat!(
            // The first one due, in the index's order: an EXISTS may be planned as a scan of all that is there.
            "SELECT found.* FROM (SELECT name, count(*) OVER () AS names FROM unnest($6::text[]) AS asked (name), ",
            "LATERAL (SELECT FROM tm_message WHERE ",
            due!($whose, " = name"),
            " ORDER BY due_at LIMIT 1) first) busy, LATERAL (",
            found!($whose, " = busy.name", "greatest(1, $2 / busy.names)"),
            ") found"
        ))
    };
}

const TAKE_CONFIRMED: &str = take_of_each!("state = 1 AND service");
const TAKE_HALVES: &str = take_of_each!("state = 0 AND answered_by");

impl PostgresStore {
    pub(crate) async fn open(
        login: Login<Postgres>,
        place: &TablePlace,
        pooled: bool,
    ) -> Result<Self, Error> {
        let open = async {
            let (login, namespace) = find(login, place, MESSAGE).await?;
            let renewer = pool(&login, &namespace, 1, pooled);
            Ok(Self { pool: pool(&login, &namespace, CONNECTIONS, pooled), renewer })
        };
        open.await.map_err(|cause| not_opened(cause, "the message store could not be opened"))
    }

    async fn claim(
        &self,
        take: &'static str,
        names: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        let bind = |query: Bound<Postgres>| {
            query
                .bind(limits.lapsed_before.map(millis))
                .bind(i64::from(limits.rows))
                .bind(i64::try_from(limits.bytes).unwrap_or(i64::MAX))
                .bind(hold.token)
                .bind(millis(hold.lease))
                .bind(names)
        };
        let mut claim = Claim::default();
        for row in &self.pool.fetch(take, bind).await? {
            Reader(row).claimed(&mut claim);
        }
        Ok(claim)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<(), StoreError> {
        schema::migrate(MESSAGE, &self.pool).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        schema::check(MESSAGE, &self.pool).await
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
        "postgres"
    }

    async fn insert_halves(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        insert(&self.pool, halves, MessageState::Half, hold).await
    }

    async fn insert_confirmed(&self, halves: &[&Half], hold: Hold) -> Result<(), StoreError> {
        insert(&self.pool, halves, MessageState::Confirmed, hold.beyond_delays(halves)).await
    }

    async fn apply(
        &self,
        event: Event,
        from: &[MessageState],
        transitions: &[Transition],
        hold: Option<Hold>,
        flush: Flush,
    ) -> Result<Vec<Applied>, StoreError> {
        apply(&self.pool, event, from, transitions, hold, flush).await
    }

    async fn renew(&self, ids: &[MessageId], hold: Hold) -> Result<Renewed, StoreError> {
        // The message to WAL makes sure that the server can commit, also when no row is renewed. An idle
        // store is left alone: what is stored there next is proof enough.
        let sql = concat!(
            "WITH ours AS MATERIALIZED (SELECT m.id FROM unnest($1::uuid[]) AS asked (id) JOIN tm_message m ON m.id = asked.id ",
            "WHERE ",
            ours!(),
            "), free AS (SELECT m.id FROM ours JOIN tm_message m ON m.id = ours.id WHERE ",
            ours!(),
            " ORDER BY m.id FOR UPDATE OF m SKIP LOCKED), ",
            "written AS MATERIALIZED (SELECT pg_logical_emit_message(true, 'transactional-message', '') AS at ",
            "WHERE NOT EXISTS (SELECT FROM free) AND (cardinality($1::uuid[]) > 0 ",
            "OR EXISTS (SELECT FROM tm_message WHERE state = 0) OR EXISTS (SELECT FROM tm_message WHERE state = 1))), ",
            "renewed AS (UPDATE tm_message m SET held_by = $2, due_at = ",
            now!(),
            " + $3, attempts = CASE m.state WHEN 0 THEN 0 ELSE m.attempts END FROM free WHERE m.id = free.id ",
            "RETURNING m.id) ",
            "SELECT NULL::uuid, false, ",
            now!(),
            " FROM (SELECT count(at) FROM written) done UNION ALL SELECT id, true, 0 FROM renewed ",
            "UNION ALL SELECT id, false, 0 FROM ours"
        );
        let bind = |query: Bound<Postgres>| query.bind(ids).bind(hold.token).bind(millis(hold.lease));
        let rows: Vec<(Option<MessageId>, bool, i64)> = decoded(&self.renewer.fetch(sql, bind).await?)?;
        let clock = rows.first().map_or(0, |(_, _, clock)| clock.unsigned_abs());
        let ids = |renewed: bool| rows.iter().filter(move |row| row.1 == renewed).filter_map(|row| row.0);
        let renewed: HashSet<MessageId> = ids(true).collect();
        let locked = ids(false).filter(|id| !renewed.contains(id)).collect();
        let ids = renewed.into_iter().collect();
        Ok(Renewed { ids, locked, database_clock: Duration::from_millis(clock) })
    }

    async fn release(&self, releases: &[Release]) -> Result<(), StoreError> {
        let attempts = |one: &Release| i64::from(one.attempts == Attempts::Spend);
        let sql = concat!(
            "UPDATE tm_message m SET held_by = NULL, due_at = greatest(CASE m.state WHEN 1 THEN m.deliver_at END, ",
            now!(),
            " + b.after), attempts = m.attempts + b.attempts, reason = coalesce(b.reason, m.reason), ",
            "history = CASE WHEN b.reason IS NULL OR b.attempts = 0 AND b.reason = m.reason THEN m.history ELSE ",
            with_entry!("m.history", "m.state", "b.reason"),
            " END ",
            "FROM (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[]) ",
            "AS b (id, held_by, after, attempts, reason) ORDER BY id) b ",
            "WHERE m.id = b.id AND m.held_by = b.held_by AND ",
            state_in!("m.", "3")
        );
        let bind = |query: Bound<Postgres>| {
            query
                .bind(releases.iter().map(|one| one.id).collect::<Vec<_>>())
                .bind(releases.iter().map(|one| one.held_by).collect::<Vec<_>>())
                .bind(releases.iter().map(|one| millis(one.after)).collect::<Vec<_>>())
                .bind(releases.iter().map(attempts).collect::<Vec<_>>())
                .bind(releases.iter().map(|one| one.reason.as_deref()).collect::<Vec<_>>())
        };
        self.pool.execute(sql, bind).await?;
        Ok(())
    }

    async fn claim_halves(
        &self,
        askable: &[AnsweredBy],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        if askable.is_empty() {
            return Ok(Claim::default());
        }
        let names: Vec<_> = askable.iter().map(ToString::to_string).collect();
        self.claim(TAKE_HALVES, &names, limits, hold).await
    }

    async fn enter(&self, id: MessageId, hold: Hold) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_message SET attempts = attempts + 1, due_at = ",
            now!(),
            " + $3 + check_after WHERE id = $1 AND held_by = $2 AND state = 0"
        );
        let bind = |query: Bound<Postgres>| query.bind(id).bind(hold.token).bind(millis(hold.lease));
        Ok(self.pool.execute(sql, bind).await?.rows_affected() > 0)
    }

    async fn claim_confirmed(
        &self,
        services: &[String],
        limits: ClaimLimits,
        hold: Hold,
    ) -> Result<Claim, StoreError> {
        self.claim(TAKE_CONFIRMED, services, limits, hold).await
    }

    async fn close(&self) {
        self.renewer.close().await;
        self.pool.close().await;
    }
}
