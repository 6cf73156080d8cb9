//! What a look at a store with many messages reads, by the server's own count.

use it::{Fragile, LOOKS, MySqlDatabases, Place, STATE, STORED, ScriptedHandler, look, numbers, run};
use sqlx::MySqlPool;
use transactional_message::{MessageId, Messenger};

/// The rows that were read, of all tables; those of this statement as well.
const READ: &str = "SELECT CAST(sum(variable_value) AS SIGNED) FROM information_schema.global_status \
    WHERE variable_name LIKE 'Handler_read%' AND variable_name <> 'Handler_read_rnd_deleted'";
/// A number for each of the last weeks' messages.
const NUMBERED: &str = "SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n \
    FROM digit a, digit b, digit c, digit d, digit e";

async fn fill(pool: &MySqlPool) {
    run(pool, "CREATE TABLE digit (d INT)").await.expect("creates");
    run(pool, "INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
        .await
        .expect("fills");
    let messages = format!(
        "INSERT INTO tm_message (id, call_id, state, answered_by, `function`, check_after, due_at, reason, created_at, finished_at, \
         exchange, routing_key, content_type, message_key, headers, payload) \
         SELECT id, id, state, 'handler:ship', 'shop::ship', 0, CASE WHEN state IN (0, 1) THEN at END, 'a reason', at, \
         CASE WHEN state IN (2, 3) THEN at END, 'shop', 'order', 'text/plain', n, '[]', 'payload' \
         FROM (SELECT n, at, {STATE} AS state, UNHEX(CONCAT(LPAD(HEX(at), 12, '0'), '70008000', LPAD(HEX(n), 12, '0'))) AS id \
         FROM (SELECT n, UNIX_TIMESTAMP() * 1000 - ({STORED} - n) * 20000 AS at FROM ({NUMBERED}) AS numbers) AS timed) AS numbered"
    );
    run(pool, messages).await.expect("fills");
    run(pool, "DROP TABLE digit").await.expect("drops");
    run(pool, "ANALYZE TABLE tm_message").await.expect("analyzes");
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
async fn no_look_reads_the_table() {
    let server = services::mariadb::start().await.expect("a server");
    let place = MySqlDatabases::on(server.url());
    place.create(&["store"]).await;
    let messenger = Messenger::builder(place.database("store"))
        .data(ScriptedHandler::default())
        .build()
        .await
        .expect("builds");
    messenger.migrate().await.expect("migrates");
    let pool = place.pool("store", 1);
    fill(&pool).await;
    let id: MessageId = it::texts(&pool, "SELECT LOWER(HEX(id)) FROM tm_message WHERE message_key = '77'")
        .await[0]
        .parse()
        .expect("an id");
    let read = async || numbers(&pool, READ).await[0];
    for (name, most) in LOOKS {
        let before = read().await;
        look(&messenger, name, id).await;
        let rows = read().await - before;
        println!("{name}: {rows} rows of {most}");
        assert!(rows <= most, "`{name}` read {rows} rows: {most} at most");
    }
}
