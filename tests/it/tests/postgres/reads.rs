//! What a look at a store with many messages reads, by the server's own count.

use it::{
    Fragile, LOOKS, Place, PostgresSchemas, STATE, STORED, ScriptedHandler, look, numbers, run, texts,
    wait_until,
};
use sqlx::PgPool;
use transactional_message::{MessageId, Messenger};

/// Numbered ids of the last weeks, as UUIDv7, so that they are in order of time.
const ID: &str = "(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - (100000 - n) * 20000), 12, '0') \
                  || '70008000' || lpad(to_hex(n), 12, '0'))::uuid";
/// Rows of the messages that were read: by the table, by its indexes. Scans of the whole table come first.
const READ: &str = "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables WHERE relname = 'tm_message' \
    UNION ALL SELECT coalesce(sum(seq_tup_read), 0)::bigint + (SELECT coalesce(sum(idx_tup_read), 0)::bigint \
    FROM pg_stat_user_indexes WHERE relname = 'tm_message') FROM pg_stat_user_tables WHERE relname = 'tm_message'";

/// The id of one of the messages.
async fn fill(pool: &PgPool) -> MessageId {
    let messages = format!(
        "INSERT INTO tm_message (id, call_id, state, answered_by, function, check_after, due_at, reason, created_at, finished_at, \
         exchange, routing_key, content_type, message_key, headers, payload) \
         SELECT id, id, state, 'handler:ship', 'shop::ship', 0, CASE WHEN state IN (0, 1) THEN at END, 'a reason', at, \
         CASE WHEN state IN (2, 3) THEN at END, 'shop', 'order', 'text/plain', n::text, '[]', 'payload' \
         FROM (SELECT n, {ID} AS id, {STATE} AS state, (extract(epoch FROM now()) * 1000)::bigint - (100000 - n) * 20000 AS at \
         FROM generate_series(1, {STORED}) AS n) AS numbered"
    );
    run(pool, messages).await.expect("fills");
    run(pool, "ANALYZE").await.expect("analyzes");
    let ids = texts(pool, "SELECT id::text FROM tm_message WHERE message_key = '77'").await;
    ids[0].parse().expect("an id")
}

/// A session counts for others when it has ended, so each look has sessions of its own.
async fn counted(pool: &PgPool) -> [i64; 2] {
    wait_until("the sessions to end", async || {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        numbers(pool, others).await == [0]
    })
    .await;
    numbers(pool, READ).await.try_into().expect("two")
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
async fn no_look_reads_the_table() {
    let server = services::postgres::start().await.expect("a server");
    let place = PostgresSchemas::on(server.url());
    place.create(&["store"]).await;
    let build = async || {
        Messenger::builder(place.database("store"))
            .data(ScriptedHandler::default())
            .build()
            .await
            .expect("builds")
    };
    let messenger = build().await;
    messenger.migrate().await.expect("migrates");
    drop(messenger);
    let pool = place.pool("store", 1);
    let id = fill(&pool).await;
    // What that read is not counted.
    pool.close().await;
    let pool = place.pool("store", 1);
    for (name, most) in LOOKS {
        let before = counted(&pool).await;
        let messenger = build().await;
        look(&messenger, name, id).await;
        drop(messenger);
        let after = counted(&pool).await;
        let (scans, read) = (after[0] - before[0], after[1] - before[1]);
        println!("{name}: {read} rows of {most}");
        assert_eq!(scans, 0, "`{name}` went through the whole table");
        assert!(read <= most, "`{name}` read {read} rows: {most} at most");
    }
}
