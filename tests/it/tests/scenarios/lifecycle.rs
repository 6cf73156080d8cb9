//! A messenger's life: built, migrated, started once, shut down, and how the others are told.

use std::path::Path;
use std::time::Duration;

use it::{Dialect, Place, Process, Reply, ShopError, order, run, says, wait_until};
use tokio::runtime::Handle;
use transactional_message::{ErrorKind, MessageState};

use crate::{Db, World};

#[tokio::test]
async fn a_messenger_is_started_once_and_takes_calls_in_between() {
    let world = World::new().await;
    let messenger = world.builder().build().await.expect("builds");
    let missing = messenger.start().await.expect_err("no tables");
    says(&missing, ErrorKind::Schema, &["call `Messenger::migrate` first"]);
    let error = world.handle(&messenger, 1).await.expect_err("not started").message();
    says(
        &error,
        ErrorKind::NotRunning,
        &["`it::calls::handled` did not run", "call `Messenger::start` first"],
    );
    let error = world.pay(&messenger, 1).await.expect_err("not started").message();
    says(&error, ErrorKind::NotRunning, &["call `Messenger::start` first"]);
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
        ErrorKind::NotRunning,
        &["did not run: the messenger is shutting down and takes no new calls"],
    );
    let error = messenger.start().await.expect_err("over");
    assert!(matches!(error.kind(), ErrorKind::Configuration | ErrorKind::Unavailable), "{error}");
}

/// The version of a part's tables: there is a script for each.
fn latest(part: &str) -> usize {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime/migrations").join(Db::FOLDER);
    (1..100).filter(|number| migrations.join(format!("{part}_{number}.sql")).exists()).count()
}

#[tokio::test]
async fn tables_that_are_missing_or_newer_are_named() {
    for (database, part) in [("store", "message"), ("shop", "fence"), ("books", "inbox")] {
        let world = World::new().await;
        let build = async || world.builder().consumer(world.consumer()).build().await.expect("builds");
        build().await.migrate().await.expect("migrates");
        let pool = world.place.pool(database, 1);
        let latest = latest(part);
        for (version, expected) in [
            (
                0,
                format!(
                    "the tables for `{part}` are at version 0, this crate needs {latest}: call `Messenger::migrate` first"
                ),
            ),
            (
                97,
                format!(
                    "the tables for `{part}` are at version 97, newer than this crate knows ({latest}): update transactional-message"
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
    // A test that relies on the global one puts its own in its place for a while.
    let elsewhere = World::new().await;
    let another = elsewhere.messenger().await;
    let replaced = another.replace_global();
    it::handled(&it::order(3), body()).await.expect("ok");
    drop(replaced);
    it::handled(&it::order(4), body()).await.expect("ok");
    elsewhere.settled(&another).await;
    world.settled(&messenger).await;
    assert_eq!((elsewhere.listener.orders(), world.listener.orders()), (vec![3], vec![1, 2, 4]));
}

#[tokio::test]
async fn a_messenger_whose_runtime_has_ended_takes_no_calls_and_says_so() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (started, messenger) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = elsewhere.messenger().await;
        elsewhere.handle(&messenger, 1).await.expect("it works");
        started.send(messenger).expect("somebody waits");
        std::future::pending::<()>().await;
    });
    let messenger = messenger.await.expect("starts");
    process.kill().await;
    for _ in 0..2 {
        let handled = world.handle(&messenger, 2).await.expect_err("nobody would deliver it").message();
        let fenced = world.pay(&messenger, 3).await.expect_err("nobody would deliver it").message();
        for error in [handled, fenced] {
            says(&error, ErrorKind::NotRunning, &["did not run", "the runtime in which it was started"]);
            assert!(!error.body_ran());
        }
    }
    assert!(!messenger.shutdown(Duration::from_secs(5)).await, "not everything was done");
    assert!(world.orders().await.is_empty());
    // What it had taken on is another's.
    let other = world.messenger().await;
    world.oracle.say(1, [Reply::Confirm]);
    world.settled(&other).await;
    assert_eq!(other.stats().await.expect("counts").delivered, 1);
}

#[tokio::test]
async fn messengers_that_are_dropped_stop_their_workers_and_lose_nothing() {
    let world = World::new().await;
    let last = world.messenger().await;
    world.handle(&last, 100).await.expect("ok");
    world.settled(&last).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for id in 0..5 {
        let dropped = World::start(world.builder()).await;
        world.handle(&dropped, id).await.expect("ok");
        assert!(tasks() > before);
    }
    wait_until("their tasks to end", async || tasks() <= before).await;
    world.count(&last, MessageState::Delivered, 6).await;
    assert!(world.oracle.questions().is_empty(), "the reports had been taken");
}
