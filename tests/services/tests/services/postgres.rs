//! PostgreSQL and `PgBouncer`.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::{LIMIT, SILENCE, client, listens, stands_still_and_goes_on, stops};

async fn psql(url: &str, statement: &str) -> Result<String, String> {
    client("psql", &["--no-psqlrc", "-At", "-c", statement, url]).await
}

#[tokio::test]
async fn postgres_comes_back_with_its_data() {
    let victim = services::postgres::start().await.unwrap();
    let durable =
        "SELECT string_agg(setting, ' ') FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit')";
    assert_eq!(psql(victim.url(), durable).await.unwrap(), "on on");
    psql(victim.url(), "CREATE TABLE kept AS SELECT 42 AS answer").await.unwrap();

    for _ in 0..2 {
        victim.kill().unwrap();
        assert!(!listens(&victim));
        victim.start_again().await.unwrap();
        assert_eq!(psql(victim.url(), "SELECT answer FROM kept").await.unwrap(), "42");
    }
    let error = victim.start_again().await.expect_err("it runs");
    assert_eq!(error.to_string(), "PostgreSQL runs already; kill it first");
    stops(&victim).await;
}

#[tokio::test]
async fn a_connection_of_postgres_stands_still_too() {
    let victim = services::postgres::start().await.unwrap();
    let mut session = Command::new("psql")
        .args(["--no-psqlrc", "-At", victim.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ask = session.stdin.take().unwrap();
    let mut answers = BufReader::new(session.stdout.take().unwrap()).lines();
    ask.write_all(b"SELECT 'before';\n").await.unwrap();
    assert_eq!(answers.next_line().await.unwrap().as_deref(), Some("before"));

    victim.pause().unwrap();
    ask.write_all(b"SELECT 'after';\n").await.unwrap();
    assert!(tokio::time::timeout(SILENCE, answers.next_line()).await.is_err());
    victim.resume().unwrap();
    let answer = tokio::time::timeout(LIMIT, answers.next_line()).await.unwrap();
    assert_eq!(answer.unwrap().as_deref(), Some("after"));

    stands_still_and_goes_on(&victim, async || psql(victim.url(), "SELECT 1").await).await;
    victim.pause().unwrap();
    stops(&victim).await;
}

#[tokio::test]
async fn pgbouncer_pools_transactions() {
    let postgres = services::postgres::start().await.unwrap();
    let pgbouncer = services::pgbouncer::start(postgres.url()).await.unwrap();
    assert_ne!(pgbouncer.port(), postgres.port());
    assert_eq!(psql(pgbouncer.url(), "SELECT current_user").await.unwrap(), services::USER);
    // What a session leaves behind, the next one finds: the connection is the same.
    psql(pgbouncer.url(), "SET application_name = 'left'").await.unwrap();
    psql(pgbouncer.url(), "CREATE TEMPORARY TABLE mine ()").await.unwrap();
    assert_eq!(psql(pgbouncer.url(), "SELECT count(*) FROM mine").await.unwrap(), "0");

    stands_still_and_goes_on(&pgbouncer, async || psql(pgbouncer.url(), "SELECT 1").await).await;
    pgbouncer.kill().unwrap();
    assert!(!listens(&pgbouncer) && listens(&postgres));
    pgbouncer.start_again().await.unwrap();
    assert_eq!(psql(pgbouncer.url(), "SELECT 1").await.unwrap(), "1");
    stops(&pgbouncer).await;
}
