//! A handler that does not return is ended: its place is free, its transaction rolled back, the attempt counted.

use std::time::Duration;

use it::{Action, Dialect, Place, number, run, wait_until};
use transactional_message::MessageState;
use uuid::Uuid;

use crate::{Db, World};

const TIMEOUT: Duration = Duration::from_secs(1);
const WHY: &str = "the handler did not end within 1s, which is the consumer's `handler_timeout`";

#[tokio::test]
async fn handlers_that_never_return_are_ended_and_keep_nobody_waiting() {
    let world = World::new().await;
    let consumer = world.consumer().concurrency(2).max_attempts(2).handler_timeout(TIMEOUT);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    for id in [1000, 1001] {
        world.listener.will(id, [Action::Never]);
        world.handle(&messenger, id).await.expect("ok");
    }
    wait_until("one of them to be begun", async || !world.listener.heard().is_empty()).await;
    for id in 0..10 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.count(&messenger, MessageState::Dead, 2).await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..10).collect::<Vec<_>>());
    for dead in messenger.admin().list(MessageState::Dead, None, 10).await.expect("lists") {
        assert_eq!(dead.reason, Some(format!("failed 2 times; the last time: {WHY}")));
    }
    for id in [1000, 1001] {
        let attempts: Vec<_> = world.listener.heard_of(id).iter().map(|heard| heard.attempt).collect();
        assert_eq!(attempts, [1, 2]);
    }
    books_are_clean(&world).await;
}

/// No connection of the consumer's pool has a transaction open: what each inserts is there for others, who can write, too.
pub(crate) async fn books_are_clean(world: &World) {
    let others = world.place.pool("books", 1);
    let mut all = Vec::new();
    for _ in 0..world.books.options().get_max_connections() {
        all.push(world.books.acquire().await.expect("acquires"));
    }
    for connection in &mut all {
        let id = Db::id(Uuid::now_v7());
        let insert = format!("INSERT INTO effects (queue, message_id, body) VALUES ('test', {id}, '')");
        Db::run(connection, insert).await.expect("inserts");
        let deleted = run(&others, "DELETE FROM effects WHERE queue = 'test'").await.expect("deletes");
        assert_eq!(deleted, 1, "an insert by the connection's next borrower was not committed");
    }
}

#[tokio::test]
async fn what_an_ended_handler_wrote_is_rolled_back_and_the_message_comes_again() {
    let world = World::new().await;
    let consumer = world.consumer().handler_timeout(TIMEOUT);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    world.listener.will(1, [Action::Never, Action::Write]);
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
    let delivered = messenger.admin().list(MessageState::Delivered, None, 1).await.expect("lists").remove(0);
    // On a busy machine, one that would have returned may be ended, too.
    let history = messenger.admin().history(delivered.id).await.expect("reads");
    assert!(delivered.attempts >= 1 && history[0].reason == WHY, "{delivered:?}, {history:?}");
    assert_eq!(number(&world.books, "SELECT count(*) FROM tm_inbox_entered").await, 0);
}
