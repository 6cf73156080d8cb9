//! MySQL or MariaDB with semi-synchronous replication, which waits for its standby for as long as it takes.

use it::{Dialect, MySqlDatabases, number, wait_until};
use services::{Server, mariadb};
use sqlx::mysql::{MySqlPoolOptions, MySqlRow};
use sqlx::{Connection, MySql, MySqlConnection, MySqlPool, Row};
use url::Url;

use crate::pair::{self, Replicated};

/// MariaDB kept the older words.
struct Words {
    plugins: Option<[&'static str; 2]>,
    primary_waits: &'static str,
    standby_answers: &'static str,
    follow: fn(&Url) -> String,
}

const MARIADB: Words = Words {
    plugins: None,
    primary_waits: "SET GLOBAL rpl_semi_sync_master_timeout = 3600000; SET GLOBAL rpl_semi_sync_master_enabled = 1",
    standby_answers: "SET GLOBAL rpl_semi_sync_slave_enabled = 1",
    follow: |primary| {
        format!(
            "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = '{}', MASTER_PASSWORD = '{}', \
             MASTER_USE_GTID = slave_pos, MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0",
            primary.host_str().expect("a host"),
            primary.port().expect("a port"),
            primary.username(),
            primary.password().expect("a password"),
        )
    },
};
const MYSQL: Words = Words {
    plugins: Some([
        "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
        "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
    ]),
    primary_waits: "SET GLOBAL rpl_semi_sync_source_timeout = 3600000; SET GLOBAL rpl_semi_sync_source_enabled = 1",
    standby_answers: "SET GLOBAL rpl_semi_sync_replica_enabled = 1",
    follow: |primary| {
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}, SOURCE_USER = '{}', \
             SOURCE_PASSWORD = '{}', SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1",
            primary.host_str().expect("a host"),
            primary.port().expect("a port"),
            primary.username(),
            primary.password().expect("a password"),
        )
    },
};

async fn connect(server: &Server) -> (MySqlConnection, &'static Words) {
    let mut connection = MySqlConnection::connect(server.url()).await.expect("connects");
    let version: String =
        sqlx::query_scalar("SELECT version()").fetch_one(&mut connection).await.expect("a version");
    (connection, if version.contains("MariaDB") { &MARIADB } else { &MYSQL })
}

async fn run(connection: &mut MySqlConnection, sql: &str) {
    MySql::run(connection, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Whether everything is applied that has come from the primary.
fn has_applied_all(status: &MySqlRow) -> bool {
    let value = |mariadb: &str, mysql: &str| -> String {
        let text = |name: &str| status.try_get_unchecked::<String, _>(name);
        text(mariadb).or_else(|_| text(mysql)).expect("the status of a standby")
    };
    value("Read_Master_Log_Pos", "Read_Source_Log_Pos") == value("Exec_Master_Log_Pos", "Exec_Source_Log_Pos")
        && value("Master_Log_File", "Source_Log_File")
            == value("Relay_Master_Log_File", "Relay_Source_Log_File")
}

impl Replicated for MySqlDatabases {
    async fn primary(_: bool) -> Server {
        mariadb::start().await.expect("a primary")
    }

    async fn standby(primary: &Server, by: &Url, synchronous: bool) -> Server {
        let standby = mariadb::start_with(&["--server-id=2", "--read-only=1"]).await.expect("a standby");
        let ((mut above, words), (mut below, _)) = (connect(primary).await, connect(&standby).await);
        if let Some([source, replica]) = words.plugins {
            run(&mut above, source).await;
            run(&mut below, replica).await;
        }
        if synchronous {
            run(&mut below, words.standby_answers).await;
        }
        run(&mut below, &(words.follow)(by)).await;
        run(&mut below, "START REPLICA").await;
        run(&mut above, "CREATE DATABASE seen_by_the_standby").await;
        let pool: MySqlPool = MySqlPoolOptions::new().connect(standby.url()).await.expect("connects");
        let seen =
            "SELECT count(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'seen_by_the_standby'";
        wait_until("the standby to follow", async || number(&pool, seen).await == 1).await;
        if synchronous {
            run(&mut above, words.primary_waits).await;
        }
        standby
    }

    async fn promote(standby: &Server) {
        let (mut standby, _) = connect(standby).await;
        run(&mut standby, "STOP REPLICA IO_THREAD").await;
        wait_until("the standby to apply what it has got", async || {
            let status = sqlx::raw_sql("SHOW REPLICA STATUS").fetch_one(&mut standby).await;
            has_applied_all(&status.expect("a status"))
        })
        .await;
        run(&mut standby, "STOP REPLICA").await;
        run(&mut standby, "RESET REPLICA ALL").await;
        run(&mut standby, "SET GLOBAL read_only = 0").await;
    }
}

#[tokio::test]
async fn a_primary_that_dies_loses_nothing_that_its_synchronous_standby_has() {
    pair::dies::<MySqlDatabases>().await;
}

#[tokio::test]
async fn a_primary_that_is_cut_off_from_its_standby_is_left() {
    pair::is_cut_off::<MySqlDatabases>().await;
}

#[tokio::test]
async fn after_an_asynchronous_standby_took_over_nothing_is_sent_for_what_was_lost() {
    pair::loses::<MySqlDatabases>().await;
}

#[tokio::test]
async fn of_a_half_that_outlives_its_payment_nothing_is_sent() {
    pair::loses_the_payment_alone::<MySqlDatabases>().await;
}
