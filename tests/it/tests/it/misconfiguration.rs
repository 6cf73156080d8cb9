//! Every mistake is an error with the remedy in it, when the messenger is built or started; none
//! of them shows a credential.

use std::time::Duration;

use it::AnsweredBy;
use it::{PASSWORD, Place, ShopError, ask, fast, fenced, fenced_amendable, order, says};
use transactional_message::{
    Backoff, Call, Consumer, DatabaseSource, ErrorKind, Message, Messenger, MessengerBuilder, Settings,
};

use crate::World;

async fn refused(builder: MessengerBuilder, expected: &[&str]) {
    let text = format!("{builder:?}");
    assert!(!text.contains(PASSWORD), "{text}");
    match builder.build().await {
        Ok(_) => panic!("built, and not refused with {expected:?}: {text}"),
        Err(error) => says(&error, ErrorKind::Configuration, expected),
    }
}

#[tokio::test]
async fn settings_are_named_with_what_they_may_be() {
    let world = World::new().await;
    let default = Settings::default();
    let zero = Duration::ZERO;
    let day = Duration::from_hours(24);
    let backwards = Backoff::new(day, Duration::from_secs(1));
    for (settings, expected) in [
        (default.lease(zero), "`lease` is 0ns; it must be between 100ms and 3600s"),
        (default.lease(day), "`lease` is 86400s; it must be between 100ms and 3600s"),
        (default.half_timeout(zero), "`half_timeout`"),
        (default.handler_timeout(zero), "`handler_timeout`"),
        (default.fence_lock_timeout(day), "`fence_lock_timeout`"),
        (default.publish_timeout(zero), "`publish_timeout`"),
        (default.poll_interval(zero), "`poll_interval`"),
        (default.janitor_interval(zero), "`janitor_interval`"),
        (default.check_back_attempts(0), "`check_back_attempts` is 0; it must be between 1 and"),
        (default.delivery_attempts(0), "`delivery_attempts`"),
        (default.relay_window(0), "`relay_window`"),
        (default.relay_bytes(0), "`relay_bytes`"),
        (default.relay_queue(0), "`relay_queue`"),
        (default.body_limit(17 << 20), "`body_limit` is 17825792; it must be between 1 and 16777216"),
        (default.headers_limit(65 << 10), "`headers_limit`"),
        (default.check_back_backoff(backwards), "`check_back_backoff`"),
        (default.delivery_backoff(backwards), "must begin above zero, and end no lower than it begins"),
        (default.report_backoff(Backoff::new(day, day * 8)), "and at most at 604800s"),
        (default.report_backoff(Backoff::new(zero, day)), "`report_backoff`"),
        (default.check_back_horizon(default.retention), "must be less than `retention`"),
    ] {
        refused(world.builder().settings(settings), &["the setting", expected]).await;
    }
}

#[tokio::test]
async fn urls_are_explained_and_not_shown() {
    let world = World::new().await;
    let secret = |scheme: &str| format!("{scheme}://admin:{PASSWORD}@db.example:port/shop");
    for (url, expected) in [
        (
            secret("postgres"),
            "the PostgreSQL URL can't be read; it looks like `postgres://user:password@host",
        ),
        (secret("postgresql"), "the PostgreSQL URL can't be read"),
        (secret("mysql"), "the MySQL URL can't be read; it looks like `mysql://user:password@host"),
        (secret("mariadb"), "the MySQL URL can't be read"),
        (secret("redis"), "no known scheme; it looks like `sqlite://path/to/file.db`"),
        (format!("admin:{PASSWORD}@db"), "no known scheme"),
        (PASSWORD.to_owned(), "no known scheme"),
        (String::new(), "no known scheme"),
        (format!("sqlite://x.db?{PASSWORD}=1"), "the sqlite URL can't be read"),
        ("sqlite::memory:".to_owned(), "an in-memory SQLite database can't keep messages over a crash"),
        ("sqlite://:memory:".to_owned(), "use a file, or `transactional_message::testing` in tests"),
        ("sqlite://x?mode=memory".to_owned(), "an in-memory SQLite database can't keep messages"),
    ] {
        let source = format!("{:?}", DatabaseSource::from(url.as_str()));
        assert!(!source.contains(PASSWORD), "{source}");
        let builder = Messenger::builder(url.as_str()).data(world.oracle.clone());
        refused(builder, &[expected]).await;
        // And as a fence; an in-memory one is the application's own affair, if there is a pool.
        if !expected.contains("in-memory") && !expected.contains("testing") {
            refused(world.builder().fence("other", url.as_str()), &[expected]).await;
        }
    }
    let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.expect("opens");
    let builder = Messenger::builder(&pool).data(world.oracle.clone());
    refused(builder, &["an in-memory SQLite database can't keep messages over a crash"]).await;
}

#[tokio::test]
async fn a_store_that_can_not_be_opened_is_unavailable() {
    let world = World::new().await;
    for url in [
        world.place.url("no/such/directory/store"),
        format!("sqlite://{}", world.place.file("store").parent().expect("a directory").display()),
        // Nobody listens there.
        format!("postgres://admin:{PASSWORD}@127.0.0.1:1/shop"),
        format!("mysql://admin:{PASSWORD}@127.0.0.1:1/shop"),
    ] {
        let builder = Messenger::builder(url.as_str()).data(world.oracle.clone());
        let error = builder.build().await.map(drop).expect_err("built");
        says(&error, ErrorKind::Unavailable, &["could not be opened"]);
        let error = world.builder().fence("other", url.as_str()).build().await.map(drop).expect_err("built");
        says(&error, ErrorKind::Unavailable, &["the fence's database could not be opened"]);
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn fences_are_named_once_and_not_twice_in_one_database() {
    let world = World::new().await;
    refused(world.builder().fence("", &world.shop), &["a fence has an empty name"]).await;
    refused(world.builder().fence("orders", &world.books), &["the fence `orders` was given twice"]).await;
    let messenger = world.builder().fence("again", world.place.url("shop")).build().await.expect("builds");
    messenger.migrate().await.expect("migrates");
    let error = messenger.start().await.expect_err("one database");
    says(&error, ErrorKind::Configuration, &["the fences `orders` and `again` lead to the same database"]);
}

#[tokio::test]
async fn calls_that_name_no_fence_or_an_unknown_one_are_told_what_there_is() {
    let world = World::new().await;
    let body = async || unreachable!("the body must not run");
    let none = Messenger::builder(world.place.url("none")).settings(fast()).data(world.oracle.clone());
    let none = World::start(none).await;
    let error = none.scope(async { fenced::<()>(&order(1), body()).await }).await.expect_err("no fence");
    says(
        &error.message(),
        ErrorKind::Configuration,
        &["`it::calls::fenced` is fenced, but the messenger has no fence"],
    );
    let error =
        none.scope(async { fenced_amendable::<()>(&order(1), body()).await }).await.expect_err("no fence");
    says(
        &error.message(),
        ErrorKind::Configuration,
        &["says `fence = \"orders\"`", "`.fence(\"orders\", &pool)`"],
    );

    let two = World::start(world.builder().fence("more", &world.books)).await;
    let error = two.scope(async { fenced::<()>(&order(1), body()).await }).await.expect_err("which one?");
    let expected =
        "says `fence`, and the messenger has several: write `fence = \"name\"` with one of `orders`, `more`";
    says(&error.message(), ErrorKind::Configuration, &[expected]);
    let unknown = AnsweredBy::NamedFence("shop".into());
    let error: ShopError = two.call::<(), _, _>(it::call(unknown, []), body()).await.expect_err("unknown");
    says(&error.message(), ErrorKind::Configuration, &["the messenger has only `orders`, `more`"]);
    let unknown = AnsweredBy::Handler("nobody".into());
    let message = Message::bytes("", "", "", "");
    let error: ShopError =
        two.call::<(), _, _>(it::call(unknown, [message]), body()).await.expect_err("unknown");
    says(&error.message(), ErrorKind::Configuration, &["check-back handler `nobody`", "`it.handled`"]);
    let stats = two.stats().await.expect("counts");
    assert_eq!((stats.half, stats.cancelled), (0, 0));
}

#[tokio::test]
async fn a_call_that_contradicts_itself_is_refused_before_its_body() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let message = || Message::bytes("", "", "", "");
    let fenced = || Call::new("pay").fence().message(message());
    for (call, kind, expected) in [
        (fenced().check_back("it.handled"), ErrorKind::Misuse, "names both a fence and a check-back handler"),
        (fenced().ask_on_err(), ErrorKind::Misuse, "they are for check-back handlers"),
        (fenced().check_after(Duration::ZERO), ErrorKind::Misuse, "they are for check-back handlers"),
        (Call::new("pay").message(message()), ErrorKind::Misuse, "neither a fence nor a check-back handler"),
        (
            Call::new("pay").business_key(7).message(message()),
            ErrorKind::Misuse,
            "`business_key` before there",
        ),
        (Call::new("a\0b").fence(), ErrorKind::InvalidMessage, "none of them NUL"),
        (Call::new("x".repeat(1001)).fence(), ErrorKind::InvalidMessage, "has 1001 bytes"),
    ] {
        let body = async { unreachable!("the body must not run") };
        let error: ShopError = messenger.call::<(), _, _>(call, body).await.expect_err(expected);
        says(&error.message(), kind, &[expected]);
    }
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.half, stats.cancelled), (0, 0));
}

#[tokio::test]
async fn handlers_and_their_data_are_checked() {
    let world = World::new().await;
    let without_data = Messenger::builder(world.place.url("store"));
    let data = "which the messenger does not have: add `.data(..)` with a `it::scripted_handler::ScriptedHandler` to its builder";
    refused(without_data, &["takes `Data<it::scripted_handler::ScriptedHandler>`", data]).await;
    let twice = world.builder().check_back("it.handled", ask);
    refused(twice, &["there are two check-back handlers named `it.handled`", "must be unique"]).await;
    let twice = world.builder().check_back("by hand", ask).check_back("by hand", ask);
    refused(twice, &["there are two check-back handlers named `by hand`"]).await;
    refused(world.builder().check_back("", ask), &["a check-back handler has an empty name"]).await;
    let expects = world.builder().expect(["it.handled", "elsewhere"]);
    let remedy = "`use the_crate as _;`, or add `.check_back(\"elsewhere\", handler)` to the builder";
    refused(expects, &["the check-back handler `elsewhere` is expected", "`it.handled`", remedy]).await;
    let leads_nowhere = world.builder().alias("old", "new");
    refused(leads_nowhere, &["the alias `old` leads to the check-back handler `new`"]).await;
    let hides = world.builder().alias("it.handled", "it.handled.late");
    refused(hides, &["there are two check-back handlers named `it.handled`"]).await;
    world.builder().expect(["it.handled", "it.handled.late"]).build().await.expect("they are there");
}

#[tokio::test]
async fn service_names_are_checked() {
    let world = World::new().await;
    refused(
        world.builder().service("my orders"),
        &["the service name \"my orders\" contains ' '", "`orders`"],
    )
    .await;
    let long = "x".repeat(101);
    refused(world.builder().service_alias(long), &["has 101 bytes", "1 to 100 bytes"]).await;
    world.builder().service("orders").service_alias("default").build().await.expect("both are fine");
}

#[tokio::test]
async fn consumers_are_checked() {
    let world = World::new().await;
    let consumer = |queue: &str| Consumer::new(queue, world.books.clone(), world.listener.clone());
    let bound = |queue: &str| consumer(queue).bind("shop", "#");
    for (consumers, expected) in [
        (vec![consumer("q")], "it is bound to nothing: add `.bind(\"exchange\", \"routing.key\")`"),
        (vec![bound("")], "its queue's name must have 1 to 255 bytes"),
        (vec![bound(&"q".repeat(256))], "its queue's name must have 1 to 255 bytes"),
        (vec![bound("q").max_attempts(0)], "`max_attempts` must be at least 1"),
        (vec![bound("q").concurrency(0)], "`concurrency` must be at least 1"),
        (
            vec![bound("q").handler_timeout(Duration::ZERO)],
            "`handler_timeout` must be between 1 ms and 10 min",
        ),
        (
            vec![bound("q").handler_timeout(Duration::from_mins(11))],
            "`handler_timeout` must be between 1 ms and 10 min",
        ),
        (vec![bound("q"), bound("q")], "there are two consumers of the queue `q`: raise its `concurrency`"),
    ] {
        let builder = consumers.into_iter().fold(world.builder(), MessengerBuilder::consumer);
        refused(builder, &[expected]).await;
    }
}
