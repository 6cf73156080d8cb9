//! What a server can be set to that makes it unfit, or less fit.

use it::{Dialect, Fragile, Log, MySqlDatabases, Place, fast, run, says};
use sqlx::MySql;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{ErrorKind, Messenger};

use crate::World;

#[tokio::test]
async fn tables_without_transactions_are_refused() {
    for (database, table) in [("store", "tm_message"), ("shop", "tm_fence"), ("books", "tm_inbox")] {
        let world = World::new().await;
        let build = async || world.builder().consumer(world.consumer()).build().await.expect("builds");
        build().await.migrate().await.expect("migrates");
        // Too long for it.
        let index = if table == "tm_message" { "DROP KEY tm_message_half, " } else { "" };
        let alter = format!("ALTER TABLE {table} {index}ENGINE = MyISAM");
        run(&world.place.pool(database, 1), alter).await.expect("alters");
        let expected = format!(
            "the table {table} has the engine MyISAM, which has no transactions: ALTER TABLE {table} ENGINE = InnoDB"
        );
        says(&build().await.start().await.expect_err("no transactions"), ErrorKind::Schema, &[&expected]);
        says(&build().await.migrate().await.expect_err("no transactions"), ErrorKind::Schema, &[&expected]);
    }
}

/// On a server of its own: the settings are everybody's.
#[tokio::test]
async fn settings_that_lose_commits_are_named_at_the_start() {
    let server = services::mariadb::start().await.expect("a server");
    let place = MySqlDatabases::on(server.url());
    place.create(&["store", "shop"]).await;
    let warnings = async || {
        let (log, _guard) = Log::listen(LevelFilter::WARN);
        let oracle = it::ScriptedHandler::default();
        let builder = Messenger::builder(place.database("store")).settings(fast()).data(oracle);
        builder.fence("orders", place.database("shop")).build().await.expect("builds");
        log.lines_with(&["can lose"])
    };
    assert_eq!(warnings().await, [] as [String; 0]);
    let set = "SET GLOBAL innodb_flush_log_at_trx_commit = 2, GLOBAL sync_binlog = 0";
    MySql::run(&mut place.connect().await, set).await.expect("sets");
    let warnings = warnings().await;
    let about = |part: &str| warnings.iter().filter(|warning| warning.contains(part)).count();
    assert_eq!(about("the message store can lose messages in a crash of its machine"), 2, "{warnings:?}");
    assert_eq!(about("the business database can lose what messages were sent for"), 2, "{warnings:?}");
    assert_eq!(about("MySQL's `innodb_flush_log_at_trx_commit` is 2, and not 1"), 2, "{warnings:?}");
    assert_eq!(about("MySQL's `sync_binlog` is 0, and not 1"), 2, "{warnings:?}");
}

/// On a server of its own: the setting is everybody's.
#[tokio::test]
async fn where_sessions_begin_without_autocommit_what_is_stored_is_committed() {
    let server = services::mariadb::start().await.expect("a server");
    let place = MySqlDatabases::on(server.url());
    place.create(&["store", "shop", "books"]).await;
    let set = async |sql: &str| MySql::run(&mut place.connect().await, sql).await.expect("sets");
    set("SET GLOBAL autocommit = 0").await;
    let messenger =
        Messenger::builder(place.database("store")).settings(fast()).data(it::ScriptedHandler::default());
    let messenger = World::start(messenger).await;
    let ended: Result<(), it::ShopError> =
        messenger.scope(async { it::handled(&it::order(1), async { Ok(()) }).await }).await;
    ended.expect("ok");
    // Others see what is new, again.
    set("SET GLOBAL autocommit = 1").await;
    let others = place.pool("store", 1);
    assert_eq!(it::number(&others, "SELECT count(*) FROM tm_message").await, 1, "the half message");
    it::wait_until("the confirm", async || {
        it::number(&others, "SELECT count(*) FROM tm_message WHERE state <> 0").await == 1
    })
    .await;
}
