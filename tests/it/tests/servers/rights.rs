//! A user who may read and write rows, and no more.

use it::{fenced, order, says};
use transactional_message::{AuditFilter, ErrorKind, MessageState, Messenger};

use crate::World;
use crate::scenarios::operator::newest;

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
    // To decide, and to leave a record of it, it is enough to add rows to the audit.
    messenger.scope(async { fenced(&order(20), async { Ok(()) }).await }).await.expect("ok");
    let id = newest(&messenger, MessageState::Parked).await;
    messenger.admin().contents(id, "test").await.expect("is recorded").expect("there");
    messenger.admin().cancel(id, "test").await.expect("cancels");
    let records = messenger.admin().audit(&AuditFilter::default().message(id), 10).await.expect("reads");
    assert_eq!(records.iter().map(|record| record.action.as_str()).collect::<Vec<_>>(), ["cancel", "view"]);
    let process = messenger.admin().processes().await.expect("reads");
    assert_eq!(process.len(), 1, "and to announce itself");
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
