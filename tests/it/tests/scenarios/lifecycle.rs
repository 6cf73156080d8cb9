//! A messenger's life: built, migrated, started once, shut down, and how the others are told.

use std::time::Duration;

use it::{Place, ShopError, number, order, run, says};
use transactional_message::ErrorKind;

use crate::World;

#[tokio::test]
async fn a_messenger_is_started_once_and_takes_calls_in_between() {
    let world = World::new().await;
    let messenger = world.builder().build().await.expect("builds");
    let missing = messenger.start().await.expect_err("no tables");
    says(&missing, ErrorKind::Schema, &["call `Messenger::migrate` first"]);
    let error = world.handle(&messenger, 1).await.expect_err("not started").message();
    says(
        &error,
        ErrorKind::NoMessenger,
        &["`it::calls::handled` did not run", "call `Messenger::start` first"],
    );
    let error = world.pay(&messenger, 1).await.expect_err("not started").message();
    says(&error, ErrorKind::NoMessenger, &["call `Messenger::start` first"]);
    messenger.migrate().await.expect("migrates");
    messenger.migrate().await.expect("migrates again");
    messenger.start().await.expect("starts, after the mistake was mended");
    let error = messenger.start().await.expect_err("twice");
    says(
        &error,
        ErrorKind::Configuration,
        &["the messenger was started, or shut down, before: build another one"],
    );
    world.handle(&messenger, 1).await.expect("goes on");
    assert!(messenger.shutdown(Duration::from_secs(30)).await);
    let error = world.handle(&messenger, 2).await.expect_err("over").message();
    says(
        &error,
        ErrorKind::NoMessenger,
        &["did not run: the messenger is shutting down and takes no new calls"],
    );
    let error = messenger.start().await.expect_err("over");
    assert!(matches!(error.kind(), ErrorKind::Configuration | ErrorKind::Unavailable), "{error}");
}

#[tokio::test]
async fn tables_that_are_missing_or_newer_are_named() {
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        let world = World::new().await;
        let build = async || world.builder().consumer(world.consumer()).build().await.expect("builds");
        build().await.migrate().await.expect("migrates");
        let pool = world.place.pool(database, 1);
        let newest = number(&pool, format!("SELECT version FROM tm_schema WHERE part = '{part}'")).await;
        for (version, expected) in [
            (
                0,
                format!(
                    "the tables for `{part}` are at version 0, this crate needs {newest}: call `Messenger::migrate` first"
                ),
            ),
            (
                7,
                format!(
                    "the tables for `{part}` are at version 7, newer than this crate knows ({newest}): update transactional-message"
                ),
            ),
        ] {
            let update = format!("UPDATE tm_schema SET version = {version} WHERE part = '{part}'");
            run(&pool, update).await.expect("updates");
            let error = build().await.start().await.expect_err("another version");
            says(&error, ErrorKind::Schema, &[&expected]);
            if version > 0 {
                let error = build().await.migrate().await.expect_err("a newer version");
                says(&error, ErrorKind::Schema, &[&expected]);
            }
        }
    }
}

#[tokio::test]
async fn there_is_no_messenger_until_one_is_installed_and_then_there_is_one() {
    let world = World::new().await;
    let order = order(1);
    let body = async || Ok::<_, ShopError>(());
    let error = it::handled(&order, body()).await.expect_err("none").message();
    let remedy = "call `Messenger::install_global` at start, or run the call inside `messenger.scope(..)`";
    says(&error, ErrorKind::NoMessenger, &["no messenger is installed", remedy]);
    let messenger = world.messenger().await;
    messenger.install_global().expect("the first");
    it::handled(&order, body()).await.expect("ok");
    let shop = tokio::spawn(async move { it::handled(&it::order(2), async { Ok(()) }).await });
    shop.await.expect("joins").expect("tasks find it, too");
    let error = messenger.install_global().expect_err("the second");
    says(&error, ErrorKind::Configuration, &["a global messenger is installed already"]);
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1, 2]);
}
