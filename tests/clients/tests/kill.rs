//! Whatever moment a process dies at: the orders that were paid are the messages that were sent.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use transactional_message::{Consumer, Messenger, Received};

const DIES: [&str; 5] = ["entered", "worked", "done", "returned", "committed"];

#[derive(Deserialize)]
struct Paid {
    order: i64,
}

async fn book(tx: &mut PgConnection, message: Received<Paid>) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO voucher (id) VALUES ($1)").bind(message.payload.order).execute(tx).await?;
    Ok(())
}

async fn ids(db: &PgPool, sql: &'static str) -> Vec<i64> {
    sqlx::query_scalar(sql).fetch_all(db).await.expect("reads")
}

/// A database of its own, with the business tables.
async fn database(name: &str) -> String {
    let url = std::env::var("TM_TEST_POSTGRES_URL").expect(
        "TM_TEST_POSTGRES_URL is not set: run these tests with tests/clients/run, which starts the server",
    );
    let mut server = PgConnection::connect(&url).await.expect("connects");
    for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.expect("creates");
    }
    let (start, _) = url.rsplit_once('/').expect("with a database");
    format!("{start}/{name}")
}

fn run(client: &str, moment: &str, order: usize, url: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clients"));
    let command = command.args([client, moment, &order.to_string(), url]).stderr(Stdio::piped());
    let output = command.output().expect("runs");
    let died = !output.status.success();
    assert_eq!(died, DIES.contains(&moment), "{moment}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn holds(client: &str) {
    let url = database(&format!("clients_{}", client.replace('-', "_"))).await;
    let db = PgPool::connect(&url).await.expect("connects");
    let tables = "CREATE TABLE paid (id bigint); CREATE TABLE voucher (id bigint)";
    sqlx::raw_sql(tables).execute(&db).await.expect("creates");
    let builder = Messenger::builder(&db).fence("shop", &db);
    let messenger = builder
        .consumer(Consumer::new("accounting", db.clone(), book).bind("orders", "order.paid"))
        .build()
        .await
        .expect("builds");
    messenger.migrate().await.expect("migrates");
    for (order, moment) in DIES.into_iter().chain(["declined", "never"]).enumerate() {
        run(client, moment, order, &url);
    }
    messenger.start().await.expect("starts");
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = messenger.stats().await.expect("counts");
        if stats.half + stats.confirmed == 0 {
            break;
        }
        assert!(Instant::now() < patience, "not settled: {stats:?}");
        // The pace of the looking, and no wait for a time: what is looked for ends it.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let paid = ids(&db, "SELECT id FROM paid ORDER BY id").await;
    assert_eq!(paid, [4, 6], "killed when it had committed, and never");
    assert_eq!(ids(&db, "SELECT id FROM voucher ORDER BY id").await, paid);
    assert_eq!(ids(&db, "SELECT outcome FROM tm_fence ORDER BY 1").await, [1, 1, 2, 2, 2, 2, 3]);
    messenger.shutdown(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn diesel() {
    holds("diesel").await;
}

#[tokio::test]
async fn sea_orm() {
    holds("sea-orm").await;
}

#[tokio::test]
async fn sqlx_itself() {
    holds("sqlx").await;
}

#[tokio::test]
async fn tokio_postgres() {
    holds("tokio-postgres").await;
}
