//! Fills our tables with what a process that died, or a broker that was away, has left.

use sqlx::PgPool;

/// The columns of a message that are the same for all. `f` is the fence database's row, `n` a number.
const COLUMNS: &str = "call_id, function, check_after, attempts, exchange, routing_key, content_type, headers, \
                       created_at, due_at, payload, id, state, answered_by, held_by";
const VALUES: &str = "id, 'bench::seeded', 0, 0, 'bench', 'payment.completed', 'application/json', '[]', \
                      (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
                      (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
                      convert_to(json_build_object('payment_id', id, 'account', 'alice', 'amount_cents', 1, 'note', \
                      repeat('x', 160))::text, 'UTF8')";

/// An id such as ours have: with the time in front.
const ID: &str = "overlay(overlay(gen_random_uuid()::text PLACING lpad(to_hex((extract(epoch FROM clock_timestamp()) * \
                  1000)::bigint >> 16), 8, '0') FROM 1 FOR 8) PLACING lpad(to_hex((extract(epoch FROM clock_timestamp()) \
                  * 1000)::bigint & 65535), 4, '0') FROM 10 FOR 4)::uuid";

/// Confirmed messages that nobody holds.
pub(super) async fn backlog(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let insert = format!(
        "INSERT INTO tm_message ({COLUMNS}) SELECT {VALUES}, id, 1, 'fence:' || identity, NULL \
         FROM (SELECT {ID} AS id FROM generate_series(1, {count})) AS ids, tm_fence_database"
    );
    run(pool, insert).await
}

/// Confirmed messages whose time comes in an hour.
pub(super) async fn delayed(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let columns = COLUMNS.replace("due_at, ", "deliver_at, due_at, ");
    let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint, ";
    let values = VALUES.replace(&format!("{now}{now}"), &format!("{now}LATER, LATER, "));
    let later = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 3600000";
    let insert = format!(
        "INSERT INTO tm_message ({columns}) SELECT {}, id, 1, 'fence:' || identity, NULL \
         FROM (SELECT {ID} AS id FROM generate_series(1, {count})) AS ids, tm_fence_database",
        values.replace("LATER", later)
    );
    run(pool, insert).await
}

/// Messages that are delivered, and not old enough to be deleted, each with its fence row: made during the last hours.
pub(super) async fn delivered(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let statements = format!(
        "CREATE UNLOGGED TABLE kept AS SELECT {ID} AS id FROM generate_series(1, {count});
         INSERT INTO tm_fence (call_id, outcome) SELECT id, 1 FROM kept;
         INSERT INTO tm_message ({COLUMNS}, finished_at) SELECT {VALUES}, id, 3, 'fence:' || identity, NULL,
             (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM kept, tm_fence_database;
         DROP TABLE kept;"
    );
    run(pool, statements).await
}

/// Half messages whose process is dead: half of them fenced and half with a handler, and of each every
/// second has taken effect.
pub(super) async fn orphans(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let statements = format!(
        "CREATE UNLOGGED TABLE orphan AS SELECT {ID} AS id, n FROM generate_series(1, {count}) AS n;
         INSERT INTO tm_fence (call_id, outcome) SELECT id, 1 FROM orphan WHERE n % 4 = 0;
         INSERT INTO payment (payment_id, account, amount_cents) SELECT id, 'alice', 1 FROM orphan WHERE n % 4 IN (0, 1);
         INSERT INTO tm_message ({COLUMNS}) SELECT {VALUES}, id, 0,
             CASE n % 2 WHEN 0 THEN 'fence:' || identity ELSE 'handler:bench.pay' END, gen_random_uuid()
             FROM orphan, tm_fence_database;
         DROP TABLE orphan;"
    );
    run(pool, statements).await
}

async fn run(pool: &PgPool, statements: String) -> anyhow::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(pool).await?;
    sqlx::raw_sql("VACUUM ANALYZE tm_message").execute(pool).await?;
    Ok(())
}
