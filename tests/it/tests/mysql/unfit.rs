//! Servers and places that can't work are refused with the remedy, before anything is written there.

use it::AnsweredBy;
use it::{Dialect, Fragile, MySqlDatabases, Place, fast, number, numbers, run, says, wait_until};
use services::mariadb::start_with;
use sqlx::MySql;
use sqlx::mysql::MySqlPoolOptions;
use transactional_message::{ErrorKind, Message, MessageState, Messenger, MessengerBuilder, Settings, begin};

use crate::World;

async fn refused(builder: MessengerBuilder, expected: &[&str]) {
    match builder.build().await {
        Ok(_) => panic!("built, and not refused with {expected:?}"),
        Err(error) => says(&error, ErrorKind::Configuration, expected),
    }
}

/// A fence there, with its store elsewhere; and a store there.
async fn refused_in_both(place: &MySqlDatabases, settings: &Settings, expected: &[&str]) {
    let world = World::new().await;
    let builder = |store, shop| {
        Messenger::builder(store).settings(*settings).data(world.oracle.clone()).fence("orders", shop)
    };
    let (store, shop) = (world.place.database("store"), place.database("shop"));
    refused(builder(store, shop), &[&["the database of the fence `orders`"], expected].concat()).await;
    let (store, shop) = (place.database("store"), world.place.database("shop"));
    refused(builder(store, shop), &[&["the message store"], expected].concat()).await;
}

#[tokio::test]
async fn a_binary_log_of_statements() {
    let server = start_with(&["--binlog-format=STATEMENT"]).await.expect("a server");
    let place = MySqlDatabases::on(server.url());
    place.create(&["store", "shop"]).await;
    let expected = ["`binlog_format` is STATEMENT", "(1665): set it to ROW or MIXED"];
    refused_in_both(&place, &fast(), &expected).await;
    for database in ["store", "shop"] {
        let tables = "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";
        assert_eq!(number(&place.pool(database, 1), tables).await, 0, "tables were made in `{database}`");
    }
}

/// The server takes just what the error says that it would.
#[tokio::test]
async fn packets_that_hold_no_message_of_the_largest_size() {
    let server = start_with(&["--max-allowed-packet=2M"]).await.expect("a server");
    let world = World::at(MySqlDatabases::on(server.url()), 4).await;
    let settings = fast().body_limit(2 << 20);
    let most = 1_638_400;
    let expected = [
        "`max_allowed_packet` is 2097152",
        "`body_limit` (2097152)",
        &format!("or lower `body_limit` to {most}"),
    ];
    refused_in_both(&world.place, &settings, &expected).await;
    refused(world.builder().settings(fast().body_limit(most + 1)), &expected[..1]).await;

    let messenger = world.messenger_with(fast().body_limit(most)).await;
    // JSON, in which a control character is the longest, and a text has two quotes.
    let headers = "\u{1}".repeat(fast().headers_limit - 1);
    let message = Message::json("shop", "large", "small").expect("encodes").header("h", headers);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.amend(&"x".repeat(most - 2))?;
        Ok::<_, it::ShopError>(tx.commit().await?)
    };
    messenger.call(it::call(AnsweredBy::Fence, [message]), body).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(
        number(&world.books, "SELECT length(body) FROM effects").await,
        i64::try_from(most).expect("small")
    );
    // Many at once, all headers: each statement fits, too.
    let headers = "\u{1}".repeat(20_000);
    let message = || Message::json("shop", "many", "small").expect("encodes").header("h", headers.clone());
    let many = std::iter::repeat_with(message).take(80);
    let body = async { Ok::<_, it::ShopError>(begin(&world.shop).await?.commit().await?) };
    messenger.call(it::call(AnsweredBy::Fence, many), body).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 81).await;
}

#[tokio::test]
async fn a_place_without_a_database() {
    let world = World::new().await;
    let nowhere = world.place.server().to_string();
    let remedy = "the connection has no database: name one in the URL";
    let builder = Messenger::builder(nowhere.as_str()).settings(fast()).data(world.oracle.clone());
    refused(builder, &["the message store", remedy]).await;
    let builder = Messenger::builder(world.place.database("store")).settings(fast());
    let builder = builder.data(world.oracle.clone()).fence("orders", nowhere.as_str());
    refused(builder, &["the fence's database could not be opened", remedy]).await;
    let books = MySqlPoolOptions::new().connect_lazy_with(nowhere.parse().expect("a URL"));
    let consumer = MySql::consumer("books", books, world.listener.clone()).bind("shop", "#");
    let messenger = world.builder().consumer(consumer).build().await.expect("builds");
    says(&messenger.migrate().await.expect_err("nowhere"), ErrorKind::Schema, &[remedy]);
}

#[tokio::test]
async fn names_of_databases_may_be_as_long_as_the_server_lets_them() {
    let place = MySqlDatabases::new().await;
    let long = |first: char| {
        let fill = 64 - place.database_name("").len();
        first.to_string().repeat(fill)
    };
    let (store, shop, books) = (long('s'), long('o'), long('b'));
    place.create(&[&store, &shop, &books]).await;
    let (pool, listener) = (place.pool(&books, 4), World::another_listener("books"));
    run(&pool, MySql::BOOKS).await.expect("creates");
    let builder =
        Messenger::builder(place.database(&store)).settings(fast()).data(it::ScriptedHandler::default());
    let builder = builder.fence("orders", place.database(&shop));
    World::start(builder.consumer(MySql::consumer("books", pool, listener).bind("shop", "#"))).await;
}

/// MariaDB answers NULL when somebody ends the statement that waits for it; MySQL has an error for that.
#[tokio::test]
async fn a_lock_for_migrations_that_is_not_given() {
    let world = World::new().await;
    let lock = "SELECT CAST(GET_LOCK(CONCAT('tm_schema.', LEFT(SHA2(DATABASE(), 256), 32)), 50) AS SIGNED)";
    let pool = world.place.pool("store", 2);
    let mut other = pool.acquire().await.expect("acquires");
    assert_eq!(MySql::numbers(&mut other, lock).await.expect("locks"), [1]);
    let messenger = world.builder().build().await.expect("builds");
    let end = async {
        let waiting = format!(
            "SELECT CAST(id AS SIGNED) FROM {} WHERE db = DATABASE() AND info LIKE 'SELECT GET\\_LOCK%'",
            MySqlDatabases::SESSIONS
        );
        wait_until("the migration to wait", async || numbers(&pool, &waiting).await.len() == 1).await;
        run(&pool, format!("KILL QUERY {}", numbers(&pool, &waiting).await[0])).await.expect("ends it");
    };
    let (migrated, ()) = tokio::join!(messenger.migrate(), end);
    let error = migrated.expect_err("no lock");
    let is_maria = it::texts(&pool, "SELECT VERSION()").await[0].contains("MariaDB");
    let expected =
        if is_maria { "MySQL answered NULL when it was asked for the lock" } else { "interrupted (1317)" };
    says(&error, ErrorKind::Unavailable, &[expected]);
}
