//! Where the tables are: databases that are named, or not there; and how long our statements run.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Dialect, MySqlDatabases, Place, ShopError, fast, fenced, number, order, run, says, wait_until};
use sqlx::MySql;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use transactional_message::{DatabaseSource, ErrorKind, MessageState, Messenger, begin};
use url::Url;

use crate::World;

/// The server, without a database.
fn server(world: &World) -> Url {
    let mut url: Url = world.place.url("shop").parse().expect("a URL");
    url.set_path("");
    url
}

/// Nothing has a database of its own but what is named.
#[tokio::test]
async fn the_database_can_be_named() {
    let world = World::new().await;
    let url = server(&world);
    let source = |name: &str| DatabaseSource::from(url.as_str()).schema(world.place.database_name(name));
    let options: MySqlConnectOptions = url.as_str().parse().expect("a URL");
    let books = MySqlPoolOptions::new().connect_lazy_with(options.clone().database("information_schema"));
    let shop = MySqlPoolOptions::new().connect_lazy_with(options);
    let orders = format!("INSERT INTO {}.orders (id) VALUES (1)", world.place.database_name("shop"));
    let listener = world.listener.clone();
    let consumer = MySql::consumer("books", books, listener.clone())
        .bind("shop", "#")
        .max_attempts(1)
        .schema(world.place.database_name("books"));
    let builder = Messenger::builder(source("store")).settings(fast()).data(world.oracle.clone());
    let messenger = World::start(builder.fence("orders", source("shop")).consumer(consumer)).await;
    let body = async {
        let mut tx = begin(&shop).await?;
        MySql::run(&mut tx, orders).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    wait_until("the delivery", async || !listener.heard().is_empty()).await;
    assert_eq!((world.orders().await, world.fences(1).await), (vec![1], 1));
    // The inbox let it in; the handler found no table of its own.
    world.count(&messenger, MessageState::Dead, 1).await;
    assert_eq!(number(&world.books, "SELECT count(*) FROM tm_inbox").await, 0);
}

/// Also where connections have no database, and want a condition in every statement that deletes.
#[tokio::test]
async fn an_inbox_elsewhere_is_pruned() {
    let world = World::new().await;
    let options: MySqlConnectOptions = server(&world).as_str().parse().expect("a URL");
    let books = MySqlPoolOptions::new()
        .after_connect(move |connection, _| {
            Box::pin(async move { MySql::run(connection, "SET sql_safe_updates = 1").await.map(drop) })
        })
        .connect_lazy_with(options);
    let consumer = MySql::consumer("books", books, world.listener.clone()).bind("shop", "#");
    let consumer = consumer.schema(world.place.database_name("books"));
    let builder = world.builder().settings(fast().janitor_interval(Duration::from_millis(20)));
    let _messenger = World::start(builder.consumer(consumer)).await;
    for table in [
        "tm_inbox (queue, message_id, received_at)",
        "tm_inbox_entered (queue, message_id, entered_at, entries)",
    ] {
        let ones = if table.contains("entries") { "1, 1" } else { "1" };
        let old =
            format!("INSERT INTO {table} VALUES ('books', X'01000000000000000000000000000000', {ones})");
        run(&world.books, old).await.expect("inserts");
    }
    let left = "SELECT (SELECT count(*) FROM tm_inbox) + (SELECT count(*) FROM tm_inbox_entered)";
    wait_until("what is old to be pruned", async || number(&world.books, left).await == 0).await;
}

#[tokio::test]
async fn without_a_database_nothing_is_built() {
    let world = World::new().await;
    let url = server(&world);
    let build = async |source: DatabaseSource| {
        Messenger::builder(source).data(world.oracle.clone()).build().await.expect_err("nowhere")
    };
    let nowhere = build(DatabaseSource::from(url.as_str())).await;
    says(&nowhere, ErrorKind::Configuration, &["has no database", "in the URL", "by `schema`"]);
    let missing = build(DatabaseSource::from(url.as_str()).schema("missing")).await;
    says(&missing, ErrorKind::Configuration, &["there is no database `missing`", "CREATE DATABASE"]);
}

/// What the client has given up ends at the server, too.
#[tokio::test]
async fn a_count_that_takes_too_long_ends_and_is_the_only_one() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let store = world.place.database_name("store");
    let counting = format!(
        "SELECT count(*) FROM {} WHERE db = '{store}' AND info LIKE 'SELECT 0, count(*)%'",
        MySqlDatabases::SESSIONS
    );
    let mut blocker = world.store().acquire().await.expect("acquires");
    MySql::run(&mut blocker, "LOCK TABLES tm_message WRITE").await.expect("locks");
    let mut counts = std::pin::pin!(join_all((0..8).map(|_| messenger.stats())));
    let mut most = 0;
    let counts = loop {
        tokio::select! {
            counts = &mut counts => break counts,
            now = number(&world.shop, &counting) => most = most.max(now),
        }
    };
    assert!(counts.iter().all(Result::is_err), "the table is locked");
    assert_eq!(most, 1, "one count at a time");
    wait_until("the statement to end", async || number(&world.shop, &counting).await == 0).await;
    MySql::run(&mut blocker, "UNLOCK TABLES").await.expect("unlocks");
    wait_until("the store to be back", async || messenger.stats().await.is_ok()).await;
}
