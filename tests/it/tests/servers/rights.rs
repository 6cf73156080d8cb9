//! A user who may read and write rows, and no more.

use it::says;
use transactional_message::{ErrorKind, Messenger};

use crate::World;

/// A messenger that works as the clerk on what the world has.
async fn as_clerk(world: &World) -> (World, Messenger) {
    let clerk = World { place: world.place.as_clerk().await, ..world.elsewhere() }.elsewhere();
    let messenger = clerk.builder().consumer(clerk.consumer()).build().await.expect("builds");
    (clerk, messenger)
}

#[tokio::test]
async fn may_work_on_tables_that_others_made() {
    let world = World::new().await;
    let owner = world.builder().consumer(world.consumer()).build().await.expect("builds");
    owner.migrate().await.expect("migrates");
    let (clerk, messenger) = as_clerk(&world).await;
    messenger.migrate().await.expect("there is nothing to do");
    messenger.start().await.expect("starts");
    for id in 0..5 {
        clerk.pay(&messenger, id).await.expect("ok");
        clerk.handle(&messenger, 10 + id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..5).chain(10..15).collect::<Vec<_>>());
}

#[tokio::test]
async fn is_told_what_to_do_where_there_are_no_tables() {
    let world = World::new().await;
    let (_clerk, messenger) = as_clerk(&world).await;
    let error = messenger.migrate().await.expect_err("no right");
    let lacks = "this user lacks a right; it needs SELECT, INSERT, UPDATE and DELETE on the tables tm_*";
    says(&error, ErrorKind::Schema, &[lacks, "to run `Messenger::migrate`"]);
    let error = messenger.start().await.expect_err("no tables");
    let remedy = "call `Messenger::migrate` first, or have the files in its folder `migrations` run";
    says(&error, ErrorKind::Schema, &[remedy]);
}
