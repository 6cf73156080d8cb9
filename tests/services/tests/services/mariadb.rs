//! MariaDB.

use services::Server;

use crate::{client, listens, stands_still_and_goes_on, stops};

async fn sql(server: &Server, statement: &str) -> Result<String, String> {
    let port = format!("--port={}", server.port());
    let (user, password) =
        (format!("--user={}", services::USER), format!("--password={}", services::PASSWORD));
    let to = ["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", &port, &user, &password];
    client(
        "mariadb",
        &[&to[..], &["--batch", "--skip-column-names", "-e", statement, services::USER]].concat(),
    )
    .await
}

#[tokio::test]
async fn mariadb_comes_back_with_its_data() {
    let victim = services::mariadb::start().await.unwrap();
    let durable = "SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@character_set_server";
    assert_eq!(sql(&victim, durable).await.unwrap(), "1\t1\tutf8mb4");
    sql(&victim, "CREATE TABLE kept AS SELECT 42 AS answer").await.unwrap();

    for _ in 0..2 {
        victim.kill().unwrap();
        assert!(!listens(&victim));
        victim.start_again().await.unwrap();
        assert_eq!(sql(&victim, "SELECT answer FROM kept").await.unwrap(), "42");
    }
    stands_still_and_goes_on(&victim, async || sql(&victim, "SELECT 1").await).await;
    victim.pause().unwrap();
    stops(&victim).await;
}
