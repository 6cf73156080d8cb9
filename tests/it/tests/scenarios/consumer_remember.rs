//! How long a consumer remembers may be changed: what was pruned is never taken for new.

use std::time::Duration;

use it::{Action, ScriptedConsumer, fast, number, wait_until};
use transactional_message::{MessageInfo, MessageState, Messenger, MessengerBuilder};

use crate::World;

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Two queues get every message; one of them fails at first, so that an operator tries again.
fn builder(world: &World, mail: &ScriptedConsumer, remember: Duration) -> MessengerBuilder {
    let settings = fast().janitor_interval(Duration::from_millis(20));
    world
        .builder()
        .settings(settings)
        .consumer(world.consumer().inbox_retention(remember))
        .consumer(world.consumer_named("mail", mail).max_attempts(1))
}

async fn dead(world: &World, messenger: &Messenger) -> MessageInfo {
    world.count(messenger, MessageState::Dead, 1).await;
    messenger.admin().list(MessageState::Dead, None, 1).await.expect("lists").remove(0)
}

async fn is_pruned(world: &World) {
    wait_until("the record to be pruned", async || {
        number(&world.books, "SELECT count(*) FROM tm_inbox WHERE queue = 'books'").await == 0
    })
    .await;
}

#[tokio::test]
async fn raising_it_makes_nothing_look_new_that_was_pruned() {
    let world = World::new().await;
    let mail = World::another_listener("mail");
    mail.will(1, [Action::Fail, Action::Write]);
    let short = World::start(builder(&world, &mail, Duration::from_secs(4))).await;
    world.handle(&short, 1).await.expect("ok");
    dead(&world, &short).await;
    assert_eq!(world.listener.orders(), [1]);
    is_pruned(&world).await;
    assert!(short.shutdown(Duration::from_secs(30)).await);

    let long = World::start(builder(&world, &mail, WEEK)).await;
    long.admin().retry(dead(&world, &long).await.id, "mended").await.expect("tries again");
    let reason = dead(&world, &long).await.reason.expect("a reason");
    assert!(reason.contains("made before what this queue remembers"), "{reason}");
    assert_eq!(world.effects_of_orders().await, [1, 1], "one for each queue");
    assert_eq!(mail.orders(), [1, 1], "mended");
    // What is younger is taken.
    world.handle(&long, 2).await.expect("ok");
    world.settled(&long).await;
    assert_eq!(world.effects_of_orders().await, [1, 1, 2, 2]);
}

#[tokio::test]
async fn a_message_that_is_younger_than_its_record_keeps_it() {
    let world = World::new().await;
    let messenger = World::start(world.builder().settings(fast()).consumer(world.consumer())).await;
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert!(messenger.shutdown(Duration::from_secs(30)).await);
    // Its sender's clock is ahead of the database's, by more than the consumer remembers.
    it::run(&world.books, "UPDATE tm_inbox SET received_at = received_at - 3600000").await.expect("ages");
    let mail = World::another_listener("mail");
    let short = World::start(builder(&world, &mail, Duration::from_mins(30))).await;
    world.handle(&short, 2).await.expect("ok");
    world.settled(&short).await;
    let rows = async || number(&world.books, "SELECT count(*) FROM tm_inbox WHERE queue = 'books'").await;
    let pruned = async || number(&world.books, "SELECT count(*) FROM tm_inbox_pruned").await;
    assert_eq!((rows().await, pruned().await), (2, 0));
    // A record that is as old as its message goes, and leaves a note.
    let old = format!("INSERT INTO tm_inbox VALUES ('books', {}, 1)", old_id());
    it::run(&world.books, old).await.expect("inserts");
    wait_until("the old one to be pruned", async || pruned().await == 1).await;
    assert_eq!(rows().await, 2);
}

fn old_id() -> String {
    let old = uuid::Timestamp::from_unix(uuid::NoContext, 1_600_000_000, 0);
    <crate::Db as it::Dialect>::id(uuid::Uuid::new_v7(old))
}
