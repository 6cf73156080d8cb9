//! Consumers that are added to a messenger that is there already.

use std::time::Duration;

use it::{Action, wait_until};
use transactional_message::{ErrorKind, Messenger};

use crate::World;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_consumer_that_comes_later_handles_what_comes_then() {
    let world = World::new().await;
    let messenger = World::start(world.builder()).await;
    let untold = messenger.add_consumer(world.consumer()).await.expect_err("no inbox");
    assert_eq!(untold.kind(), ErrorKind::Schema, "{untold}");
    assert!(untold.to_string().contains("`books` could not be added"), "{untold}");

    let consumer = world.consumer();
    consumer.migrate().await.expect("creates the inbox");
    messenger.add_consumer(consumer).await.expect("added: nothing was kept of the first try");
    world.listener.will(1, [Action::Fail, Action::Write]);
    for id in 1..=20 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (1..=20).collect::<Vec<_>>());

    let twice = messenger.add_consumer(world.consumer()).await.expect_err("there is one").to_string();
    assert!(twice.contains("two consumers of the queue `books`"), "{twice}");

    // What it handles is waited for.
    world.listener.will(21, [Action::Slow(Duration::from_millis(300))]);
    world.handle(&messenger, 21).await.expect("ok");
    wait_until("it to be begun", async || !world.listener.heard_of(21).is_empty()).await;
    assert!(messenger.shutdown(LONG).await, "in time");
    assert_eq!(world.effects_of_orders().await, (1..=21).collect::<Vec<_>>());
    let ended =
        messenger.add_consumer(world.consumer_named("late", &world.listener)).await.expect_err("over");
    assert!(ended.to_string().contains("runs no workers"), "{ended}");
}

#[tokio::test]
async fn one_that_comes_before_the_start_is_one_of_the_others() {
    let world = World::new().await;
    let messenger: Messenger = world.builder().build().await.expect("builds");
    messenger.add_consumer(world.consumer()).await.expect("added");
    messenger.migrate().await.expect("creates its inbox, too");
    messenger.start().await.expect("starts");
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);

    let never: Messenger = world.builder().build().await.expect("builds");
    never.shutdown(LONG).await;
    let ended = never.add_consumer(world.consumer()).await.expect_err("never started").to_string();
    assert!(ended.contains("runs no workers"), "{ended}");
}

/// The messenger's runtime runs it, whoever has added it.
#[tokio::test]
async fn one_that_another_runtime_added_outlives_that() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let (listener, there) = (World::another_listener("late"), messenger.clone());
    let consumer = world.consumer_named("late", &listener);
    let adding = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(there.add_consumer(consumer)).expect("added");
    });
    tokio::task::spawn_blocking(|| adding.join().expect("ends")).await.expect("ends");
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(listener.orders(), [1]);
}
