//! Check-back handlers: what they are asked, when, how often, and what their answers mean.

use std::time::Duration;

use it::AnsweredBy;
use it::{
    Reply, ScriptedHandler, ShopError, fast, handled, handled_asking, handled_late, handled_twice, listed,
    order, run, vanish, wait_until,
};
use transactional_message::{CallId, Data, HalfMessage, Message, MessageState, Messenger, Outcome, call_id};
use uuid::Uuid;

use crate::World;

const HOUR: Duration = Duration::from_hours(1);

/// For what is half.
const AN_HOUR_PASSES: &str =
    "UPDATE tm_message SET created_at = created_at - 3600000, due_at = due_at - 3600000 WHERE state = 0";

/// Runs a call whose body panics, for a message of the test's own.
async fn vanished_by_hand(messenger: &Messenger, handler: &str, message: Message) {
    let body = async { panic!("on purpose") };
    let answered_by = AnsweredBy::Handler(handler.into());
    vanish(messenger.call::<(), ShopError, _>(it::call(answered_by, [message]), body)).await;
}

#[tokio::test]
async fn a_handler_is_told_everything_about_the_message() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.oracle.say(7, [Reply::Unknown, Reply::Error, Reply::Confirm]);
    let id = std::sync::Mutex::new(CallId::from_uuid(Uuid::nil()));
    let body = async {
        *id.lock().expect("sole") = call_id();
        panic!("on purpose")
    };
    vanish(messenger.scope(async { handled::<()>(&order(7), body).await })).await;
    world.settled(&messenger).await;
    let id = *id.lock().expect("sole");
    let asked = world.oracle.asked(7);
    let attempts: Vec<_> = asked.iter().map(|question| question.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    for question in &asked {
        assert_eq!((question.id.as_uuid(), question.call_id), (id.as_uuid(), id));
        assert_eq!(question.key.as_deref(), Some("7"));
        assert!(question.age >= fast().check_after, "asked after {:?}", question.age);
    }
    assert!(asked.is_sorted_by_key(|question| question.age));
    assert_eq!(world.listener.heard_of(7)[0].id.as_uuid(), id.as_uuid(), "delivered under the same id");
}

#[tokio::test]
async fn of_several_messages_each_is_asked_about_with_the_calls_id() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.oracle.say(1, [Reply::Confirm]);
    let call = std::sync::Mutex::new(CallId::from_uuid(Uuid::nil()));
    let body = async {
        *call.lock().expect("sole") = call_id();
        panic!("on purpose")
    };
    vanish(messenger.scope(async { handled_twice::<()>(&order(1), body).await })).await;
    world.settled(&messenger).await;
    let call_id = *call.lock().expect("sole");
    let asked = world.oracle.asked(1);
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|question| question.call_id == call_id));
    assert_eq!(asked.iter().filter(|question| question.id.as_uuid() == call_id.as_uuid()).count(), 1);
    assert_eq!(world.listener.orders(), [1, 1]);
}

#[tokio::test]
async fn what_is_no_clear_answer_is_counted_and_the_budget_parks() {
    let world = World::new().await;
    let settings = fast().check_back_attempts(3).handler_timeout(Duration::from_millis(100));
    let messenger = world.messenger_with(settings).await;
    let cases = [
        (1, Reply::Unknown, "the handler `it.handled` answered Unknown"),
        (2, Reply::Error, "the handler `it.handled` failed: the oracle is asleep"),
        (3, Reply::Panic, "the handler `it.handled` panicked: the oracle is mad"),
        (4, Reply::Hang, "the handler `it.handled` did not answer within 100ms"),
        (5, Reply::Slow(Duration::from_secs(2)), "the handler `it.handled` did not answer within 100ms"),
    ];
    for (id, word, _) in cases {
        world.oracle.say(id, [word]);
        world.vanish(&messenger, id).await;
    }
    let undecodable = Message::bytes("shop", "order.raw", "application/json", "[]").business_key("6");
    vanished_by_hand(&messenger, "it.handled", undecodable).await;
    world.count(&messenger, MessageState::Parked, 6).await;
    let parked = messenger.admin().list(MessageState::Parked, None, 10).await.expect("lists");
    let why = |id: u64| {
        let of_id =
            |message: &&transactional_message::MessageInfo| message.business_key == Some(id.to_string());
        let message = parked.iter().find(of_id).expect("parked");
        assert_eq!(message.attempts, 3);
        message.reason.clone().expect("a reason")
    };
    for (id, _, expected) in cases {
        assert_eq!(why(id), format!("asked 3 times without an answer; the last time {expected}"));
        assert_eq!(world.oracle.asked(id).len(), 3);
    }
    assert!(why(6).contains("the payload is not what the handler takes"), "{}", why(6));
    assert!(world.listener.heard().is_empty());
}

#[tokio::test]
async fn a_message_that_was_parked_is_not_asked_about_again() {
    let world = World::new().await;
    let messenger = world.messenger_with(fast().check_back_attempts(1)).await;
    world.oracle.say(1, [Reply::Unknown, Reply::Confirm]);
    world.vanish(&messenger, 1).await;
    world.count(&messenger, MessageState::Parked, 1).await;
    // Another one, asked about after it.
    world.oracle.say(2, [Reply::Confirm]);
    world.vanish(&messenger, 2).await;
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.oracle.asked(1).len(), 1);
    assert_eq!(messenger.stats().await.expect("counts").parked, 1);
}

#[tokio::test]
async fn an_err_is_believed_unless_the_function_says_to_ask() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.oracle.say(1, [Reply::Confirm]);
    world.oracle.say(2, [Reply::Confirm]);
    world.oracle.say(3, [Reply::Cancel]);
    let err = async || Err::<(), _>(ShopError::Declined);
    messenger.scope(async { handled(&order(1), err()).await }).await.expect_err("declined");
    messenger.scope(async { handled_asking(&order(2), err()).await }).await.expect_err("declined");
    messenger.scope(async { handled_asking(&order(3), err()).await }).await.expect_err("declined");
    messenger.scope(async { handled_asking(&order(4), async { Ok(()) }).await }).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [2, 4]);
    let asked = [1, 2, 3, 4].map(|id| world.oracle.asked(id).len());
    assert_eq!(asked, [0, 1, 1, 0]);
}

#[tokio::test]
async fn questions_come_after_check_after_and_not_in_the_order_of_the_calls() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in [1, 2, 3] {
        world.oracle.say(id, [Reply::Confirm]);
    }
    let panics = async || panic!("on purpose");
    vanish(messenger.scope(async { handled_late::<()>(&order(1), HOUR, panics()).await })).await;
    vanish(messenger.scope(async { handled_late::<()>(&order(2), HOUR * 2, panics()).await })).await;
    world.vanish(&messenger, 3).await;
    let asked = || world.oracle.questions().iter().map(|question| question.order).collect::<Vec<_>>();
    for expected in [&[3][..], &[3, 1], &[3, 1, 2]] {
        world.count(&messenger, MessageState::Delivered, expected.len() as u64).await;
        assert_eq!(asked(), expected);
        wait_until("the others to be held by nobody", async || {
            let halves = listed(&messenger, MessageState::Half, 2).await;
            halves.is_some_and(|halves| halves.iter().all(|half| half.held_by.is_none()))
        })
        .await;
        run(&world.store(), AN_HOUR_PASSES).await.expect("updates");
    }
    assert!(world.oracle.asked(1)[0].age >= HOUR);
    assert!(world.oracle.asked(2)[0].age >= HOUR * 2);
}

/// Takes whatever it is; confirms what is not empty.
async fn untyped(half: HalfMessage, _: Data<ScriptedHandler>) -> Outcome {
    assert_eq!((half.attempt, half.id.as_uuid()), (1, half.call_id.as_uuid()));
    if half.payload.0.is_empty() { Outcome::Cancel } else { Outcome::Confirm }
}

#[tokio::test]
async fn an_untyped_handler_gets_the_bytes() {
    let world = World::new().await;
    let builder = world.builder().check_back("untyped", untyped).consumer(world.consumer());
    let messenger = World::start(builder).await;
    for body in ["", "not JSON"] {
        vanished_by_hand(&messenger, "untyped", Message::bytes("shop", "raw", "text/plain", body)).await;
    }
    world.settled(&messenger).await;
    let heard = world.listener.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].body, "not JSON");
    assert_eq!(messenger.stats().await.expect("counts").cancelled, 1);
}

#[tokio::test]
async fn two_handlers_are_asked_side_by_side_and_one_that_hangs_delays_no_other() {
    let world = World::new().await;
    let settings = fast().handler_timeout(Duration::from_secs(20));
    let messenger = world.messenger_with(settings).await;
    for id in 0..10 {
        world.oracle.say(id, [Reply::Hang]);
        world.vanish(&messenger, id).await;
    }
    wait_until("ten handlers to hang", async || world.oracle.questions().len() == 10).await;
    for id in 10..60 {
        world.oracle.say(id, [Reply::Confirm]);
        world.vanish(&messenger, id).await;
    }
    world.count(&messenger, MessageState::Delivered, 50).await;
    assert_eq!(world.oracle.questions().len(), 60);
    assert_eq!(messenger.stats().await.expect("counts").half, 10);
}
