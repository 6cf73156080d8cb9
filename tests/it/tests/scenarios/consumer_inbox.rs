//! One effect per message and queue, whatever fails, repeats, or is swallowed.

use std::time::Duration;

use it::AnsweredBy;
use it::{Action, Dialect, fast, number, wait_until};
use transactional_message::{Message, MessageInfo, MessageState, Messenger};

use crate::{Db, World};

async fn only(messenger: &Messenger, state: MessageState) -> MessageInfo {
    messenger.admin().list(state, None, 2).await.expect("lists").remove(0)
}

#[tokio::test]
async fn a_handler_may_take_longer_than_a_broker() {
    let world = World::new().await;
    let settings = fast().publish_timeout(Duration::from_millis(20));
    let messenger = world.messenger_with(settings).await;
    world.listener.will(1, [Action::Slow(Duration::from_millis(300)), Action::Write]);
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    let message = only(&messenger, MessageState::Delivered).await;
    assert_eq!((message.attempts, message.reason), (0, None), "nobody lost patience");
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(world.effects(message.id).await, 1);
}

#[tokio::test]
async fn what_a_failing_handler_wrote_is_rolled_back_and_tried_again() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for (id, act) in [(1, Action::Fail), (2, Action::Panic)] {
        world.listener.will(id, [act, act, Action::Write]);
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1, 2]);
    for id in [1, 2] {
        let attempts: Vec<_> = world.listener.heard_of(id).iter().map(|heard| heard.attempt).collect();
        assert_eq!(attempts, [1, 2, 3]);
    }
}

#[tokio::test]
async fn a_swallowed_error_is_not_acknowledged() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.listener.will(1, [Action::Swallow, Action::Write]);
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
    assert_eq!(world.listener.orders(), [1, 1]);
}

#[tokio::test]
async fn a_handler_that_commits_by_itself_has_one_effect() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in 0..10 {
        world.listener.will(id, [Action::Commit]);
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..10).collect::<Vec<_>>());
    assert_eq!(messenger.stats().await.expect("counts").delivered, 10);
}

#[tokio::test]
async fn connections_of_the_consumers_pool_survive_handlers_that_end_the_transaction() {
    let world = World::new().await;
    let attempts = 30;
    let messenger = World::start(world.builder().consumer(world.consumer().max_attempts(attempts))).await;
    world.listener.will(1, [Action::Swallow]);
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Dead, 1).await;
    let dead = only(&messenger, MessageState::Dead).await;
    let reason = dead.reason.expect("a reason");
    assert!(reason.contains(&format!("failed {attempts} times")), "{reason}");
    assert!(reason.contains(Db::SWALLOWED.1), "the last failure is like the first: {reason}");
    assert_eq!(world.listener.heard_of(1).len(), attempts as usize, "every attempt reached the handler");
    for id in 2..30 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (2..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_queue_gets_every_message_once_also_when_another_queue_fails() {
    let world = World::new().await;
    let audit = World::another_listener("audit");
    let messenger = World::start(
        world.builder().consumer(world.consumer()).consumer(world.consumer_named("audit", &audit)),
    )
    .await;
    audit.will(1, [Action::Fail, Action::Panic, Action::Fail, Action::Write]);
    for id in 1..20 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    let expected: Vec<_> = (1..20).flat_map(|id| [id, id]).collect();
    assert_eq!(world.effects_of_orders().await, expected);
    assert_eq!(world.listener.heard_of(1).len(), 1, "done is done");
    assert_eq!(audit.heard_of(1).len(), 4);
}

#[tokio::test]
async fn a_queue_that_gives_up_keeps_no_other_from_its_message() {
    let world = World::new().await;
    let strict = World::another_listener("strict");
    let messenger = World::start(
        world
            .builder()
            .consumer(world.consumer())
            .consumer(world.consumer_named("strict", &strict).max_attempts(1)),
    )
    .await;
    // The strict queue refuses at once; the other one needs a second try.
    strict.will(1, [Action::Fail, Action::Write]);
    world.listener.will(1, [Action::Fail, Action::Write]);
    world.handle(&messenger, 1).await.expect("ok");
    wait_until("the patient queue's effect", async || world.all_effects().await > 0).await;
    world.settled(&messenger).await;
    if let Some(dead) = messenger.admin().list(MessageState::Dead, None, 1).await.expect("lists").first() {
        messenger.admin().retry(dead.id, "test").await.expect("tries again");
        world.settled(&messenger).await;
    }
    assert_eq!(number(&world.books, "SELECT count(*) FROM effects WHERE queue = 'books'").await, 1);
}

#[tokio::test]
async fn two_messages_with_one_payload_are_two_messages() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for _ in 0..2 {
        world.handle(&messenger, 1).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1, 1]);
}

#[tokio::test]
async fn a_consumer_that_forgets_takes_no_message_that_is_older_than_its_memory() {
    let world = World::new().await;
    let forgetful = world.consumer().inbox_retention(Duration::from_nanos(1));
    let messenger = World::start(world.builder().consumer(forgetful)).await;
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Dead, 1).await;
    let dead = only(&messenger, MessageState::Dead).await;
    assert!(dead.reason.expect("a reason").contains("could not be recognised as a duplicate"));
    assert_eq!(dead.attempts, 1, "it was not tried again and again");
    assert!(world.listener.heard().is_empty());
    assert_eq!(world.all_effects().await, 0);
}

#[tokio::test]
async fn a_consumers_concurrency_is_kept() {
    let world = World::new().await;
    let messenger = World::start(world.builder().consumer(world.consumer().concurrency(1))).await;
    for id in 0..50 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_body_of_any_bytes_arrives_as_it_was() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let text = "ünïcödé \u{1f600} \"quotes\" \n\t and no JSON";
    let message = Message::bytes("shop", "raw", "text/plain", text)
        .business_key("Schlüssel")
        .message_type("t")
        .header("a", "1")
        .header("a", "2");
    let handler = AnsweredBy::Handler("it.handled".into());
    let ended: Result<(), it::ShopError> =
        messenger.call(it::call(handler, [message]), async { Ok(()) }).await;
    ended.expect("ok");
    world.settled(&messenger).await;
    let heard = world.listener.heard().remove(0);
    assert_eq!(heard.body, text);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = (Some("Schlüssel".into()), Some("t".into()), vec![pair("a", "1"), pair("a", "2")]);
    assert_eq!(heard.properties, expected);
}
