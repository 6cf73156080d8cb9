//! What an operator can do: exactly what the state allows, with an answer that says why not.

use std::time::Duration;

use it::{Reply, answered, counted, fast, handled, handled_late, order, vanish, wait_until};
use transactional_message::{Backoff, Error, ErrorKind, MessageId, MessageState, Messenger};
use uuid::Uuid;

use crate::World;

const HOUR: Duration = Duration::from_hours(1);

/// The newest message in `state`, as soon as there is one.
pub(crate) async fn newest(messenger: &Messenger, state: MessageState) -> MessageId {
    wait_until(&format!("a message to be {state}"), async || {
        counted(messenger).await.is_some_and(|stats| stats.count(state) > 0)
    })
    .await;
    messenger.admin().list(state, None, 1).await.expect("lists")[0].id
}

#[track_caller]
pub(crate) fn refused(result: Result<(), Error>, expected: &str) {
    let error = result.expect_err("accepted");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(expected), "`{error}` does not say `{expected}`");
}

async fn undecidable(messenger: &Messenger, id: MessageId, state: &str) {
    let expected = format!("is {state}: only a parked message can be decided by hand");
    refused(messenger.admin().confirm(id, "test").await, &expected);
    refused(messenger.admin().cancel(id, "test").await, &expected);
    assert_eq!(messenger.admin().find(id).await.expect("finds").expect("there").state.name(), state);
}

/// Nobody takes its messages, and it tries again in an hour.
async fn without_consumer(world: &World, attempts: u32) -> Messenger {
    let settings = fast().delivery_backoff(Backoff::new(HOUR, HOUR)).delivery_attempts(attempts);
    World::start(world.builder().settings(settings)).await
}

#[tokio::test]
async fn a_message_that_nobody_knows_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let id = MessageId::from(Uuid::now_v7());
    for result in [
        messenger.admin().confirm(id, "test").await,
        messenger.admin().cancel(id, "test").await,
        messenger.admin().retry(id, "test").await,
    ] {
        refused(result, &format!("there is no message {id}"));
    }
    assert_eq!(messenger.admin().find(id).await.expect("looks"), None);
}

#[tokio::test]
async fn a_live_body_is_not_the_operators_business() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let (tried, wait) = tokio::sync::oneshot::channel();
    let body = async {
        wait.await.expect("tried");
        Ok(())
    };
    let operator = async {
        let id = newest(&messenger, MessageState::Half).await;
        undecidable(&messenger, id, "half").await;
        refused(messenger.admin().retry(id, "test").await, "or it is being worked on");
        tried.send(()).expect("waits");
    };
    let order = order(1);
    tokio::join!(messenger.scope(async { handled(&order, body).await }), operator).0.expect("ok");
    world.settled(&messenger).await;
    assert!(world.oracle.questions().is_empty());
}

#[tokio::test]
async fn a_half_that_waits_for_its_question_is_asked_about_at_once_on_demand() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.oracle.say(1, [Reply::Confirm]);
    let body = async { panic!("on purpose") };
    vanish(messenger.scope(async { handled_late::<()>(&order(1), HOUR, body).await })).await;
    let id = newest(&messenger, MessageState::Half).await;
    // It becomes retryable when the report is with the store.
    wait_until("the report", async || messenger.admin().retry(id, "test").await.is_ok()).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1]);
    undecidable(&messenger, id, "delivered").await;
    refused(messenger.admin().retry(id, "test").await, "is delivered: there is nothing to try again");
}

#[tokio::test]
async fn a_cancelled_message_stays_cancelled() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async { Err(it::ShopError::Declined) };
    messenger.scope(async { handled::<()>(&order(1), body).await }).await.expect_err("declined");
    let id = newest(&messenger, MessageState::Cancelled).await;
    undecidable(&messenger, id, "cancelled").await;
    refused(messenger.admin().retry(id, "test").await, "is cancelled: there is nothing to try again");
}

#[tokio::test]
async fn a_confirmed_message_that_waits_is_delivered_at_once_on_demand() {
    let world = World::new().await;
    let messenger = without_consumer(&world, 50).await;
    world.handle(&messenger, 1).await.expect("ok");
    let id = newest(&messenger, MessageState::Confirmed).await;
    let attempts = async || answered(messenger.admin().find(id).await)?.map(|message| message.attempts);
    wait_until("the first attempt", async || attempts().await == Some(1)).await;
    undecidable(&messenger, id, "confirmed").await;
    messenger.admin().retry(id, "test").await.expect("tries again");
    wait_until("the second attempt", async || attempts().await == Some(2)).await;
    let found = messenger.admin().find(id).await.expect("finds").expect("there");
    assert_eq!(found.state, MessageState::Confirmed);
    assert!(found.reason.expect("a reason").starts_with("unroutable: no consumer"));
}

#[tokio::test]
async fn a_dead_message_is_delivered_after_a_retry() {
    let world = World::new().await;
    let messenger = without_consumer(&world, 1).await;
    world.handle(&messenger, 1).await.expect("ok");
    let id = newest(&messenger, MessageState::Dead).await;
    undecidable(&messenger, id, "dead").await;
    // Nothing has changed, so it dies again.
    messenger.admin().retry(id, "once more").await.expect("tries again");
    wait_until("the message to be dead again", async || {
        answered(messenger.admin().find(id).await).is_some_and(|found| {
            let found = found.expect("there");
            found.state == MessageState::Dead
                && found.reason.is_some_and(|reason| reason.starts_with("unroutable"))
        })
    })
    .await;
    let with_consumer = world.messenger().await;
    with_consumer.admin().retry(id, "there is a consumer now").await.expect("tries again");
    // The first messenger may be quicker, and has no consumer.
    wait_until("the delivery", async || {
        let Some(found) = answered(messenger.admin().find(id).await) else { return false };
        let found = found.expect("there");
        if found.state == MessageState::Dead {
            _ = with_consumer.admin().retry(id, "again").await;
        }
        found.state == MessageState::Delivered
    })
    .await;
    assert_eq!(world.listener.orders(), [1]);
}

/// A parked message with a handler.
async fn parked(world: &World) -> (Messenger, MessageId) {
    let messenger = world.messenger_with(fast().check_back_attempts(1)).await;
    world.oracle.say(1, [Reply::Unknown]);
    world.vanish(&messenger, 1).await;
    let id = newest(&messenger, MessageState::Parked).await;
    refused(messenger.admin().retry(id, "test").await, "is parked: there is nothing to try again");
    (messenger, id)
}

#[tokio::test]
async fn a_parked_message_is_delivered_when_an_operator_confirms_it() {
    let world = World::new().await;
    let (messenger, id) = parked(&world).await;
    messenger.admin().confirm(id, "asked the carrier").await.expect("confirms");
    world.settled(&messenger).await;
    assert_eq!(world.effects(id).await, 1);
    undecidable(&messenger, id, "delivered").await;
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_parked_message_is_gone_when_an_operator_cancels_it() {
    let world = World::new().await;
    let (messenger, id) = parked(&world).await;
    messenger.admin().cancel(id, "never shipped").await.expect("cancels");
    undecidable(&messenger, id, "cancelled").await;
    let found = messenger.admin().find(id).await.expect("finds").expect("there");
    assert_eq!(found.reason.as_deref(), Some("cancelled by hand: never shipped"));
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn of_two_operators_one_decides() {
    let world = World::new().await;
    let (messenger, id) = parked(&world).await;
    let results = tokio::join!(
        messenger.admin().confirm(id, "one"),
        messenger.admin().cancel(id, "two"),
        messenger.admin().confirm(id, "three"),
        messenger.admin().cancel(id, "four"),
    );
    let results = [results.0, results.1, results.2, results.3];
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    world.settled(&messenger).await;
    let confirmed = results[0].is_ok() || results[2].is_ok();
    assert_eq!(world.listener.orders().len(), usize::from(confirmed));
}

#[tokio::test]
async fn lists_page_from_the_newest_to_the_oldest() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in 0..7 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = messenger.admin().list(MessageState::Delivered, before, 3).await.expect("lists");
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.into_iter().map(|message| message.business_key.expect("a key")));
    }
    assert_eq!(seen, ["6", "5", "4", "3", "2", "1", "0"]);
}
