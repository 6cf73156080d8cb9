//! A consumer that can't write to its inbox says so, once, and says when it can again.

use it::{Log, run, wait_until};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::MessageState;

use crate::World;

#[tokio::test]
async fn an_inbox_that_can_not_be_written_is_told_once_with_the_remedy() {
    let (log, _listening) = Log::listen(LevelFilter::INFO);
    let world = World::new().await;
    let messenger = world.messenger().await;
    run(&world.books, "ALTER TABLE tm_inbox RENAME TO away").await.expect("renames");
    for id in 0..3 {
        world.handle(&messenger, id).await.expect("ok");
    }
    let told = || log.lines_with(&["a consumer can't write to its inbox"]);
    wait_until("the log to tell", async || !told().is_empty()).await;
    let line = told().remove(0);
    for part in [" WARN ", "queue=\"books\"", "cause=", "tm_inbox_entered", "Messenger::migrate"] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    assert!(world.listener.heard().is_empty());
    run(&world.books, "ALTER TABLE away RENAME TO tm_inbox").await.expect("renames");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [0, 1, 2]);
    let over = log.lines_with(&["a consumer can write to its inbox again"]);
    assert_eq!((told().len(), over.len()), (1, 1), "{over:?}");
    assert!(over[0].contains(" INFO ") && over[0].contains("waited="), "{over:?}");
    let delivered = messenger.admin().list(MessageState::Delivered, None, 10).await.expect("lists");
    assert!(delivered.iter().all(|message| message.attempts == 0), "{delivered:?}");
}
