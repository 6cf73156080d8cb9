//! Messages with a delay, which wait in the table; and messages that expire.

use std::time::{Duration, Instant, SystemTime};

use it::{
    Action, Reply, ShopError, fast, fenced_bytes, fenced_delayed, fenced_expiring, handled_delayed, number,
    order, run, vanish, wait_until,
};
use transactional_message::{Error, ErrorKind, Message, MessageInfo, MessageState, Messenger, begin, send};

use crate::World;

const HOUR: Duration = Duration::from_hours(1);

async fn commit(world: &World, id: u64) -> Result<(), ShopError> {
    let mut tx = begin(&world.shop).await?;
    World::write(&mut tx, id).await?;
    Ok(tx.commit().await?)
}

async fn pay_later(world: &World, messenger: &Messenger, id: u64, delay: Duration) {
    let call = async { fenced_delayed(&order(id), delay, commit(world, id)).await };
    messenger.scope(call).await.expect("ok");
}

async fn only(messenger: &Messenger, state: MessageState) -> MessageInfo {
    let mut all = messenger.admin().list(state, None, 10).await.expect("lists");
    assert_eq!(all.len(), 1, "{state}");
    all.remove(0)
}

/// The delay is over.
async fn time_passes(world: &World) {
    let earlier = "UPDATE tm_message SET created_at = created_at - 7200000, deliver_at = deliver_at - 7200000, \
                   due_at = due_at - 7200000 WHERE deliver_at IS NOT NULL";
    run(&world.store(), earlier).await.expect("updates");
}

fn is_in(info: &MessageInfo, delay: Duration) -> bool {
    let left = info.deliver_at.expect("a time").duration_since(SystemTime::now()).expect("later");
    // The store's clock is this machine's.
    left <= delay + Duration::from_secs(1) && left + Duration::from_mins(5) > delay
}

#[tokio::test]
async fn it_waits_confirmed_survives_a_restart_and_is_delivered_once_when_it_is_time() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    pay_later(&world, &messenger, 1, HOUR).await;
    world.count(&messenger, MessageState::Confirmed, 1).await;
    let waiting = only(&messenger, MessageState::Confirmed).await;
    assert!(is_in(&waiting, HOUR), "{waiting:?}");
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.confirmed, stats.delayed, stats.oldest_unfinished), (1, 1, None));
    // What was sent later, and without a delay, does not wait for it.
    world.pay(&messenger, 2).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert!(messenger.shutdown(Duration::from_secs(30)).await);

    let messenger = world.messenger().await;
    world.pay(&messenger, 3).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(only(&messenger, MessageState::Confirmed).await.id, waiting.id);
    time_passes(&world).await;
    world.count(&messenger, MessageState::Delivered, 3).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_check_back_confirms_it_and_it_waits_all_the_same() {
    let world = World::new().await;
    world.oracle.say(1, [Reply::Confirm]);
    let messenger = world.messenger().await;
    let body = async { panic!("on purpose") };
    let time = SystemTime::now() + HOUR;
    vanish(messenger.scope(async { handled_delayed::<()>(&order(1), time, body).await })).await;
    world.count(&messenger, MessageState::Confirmed, 1).await;
    assert!(is_in(&only(&messenger, MessageState::Confirmed).await, HOUR));
    // Others have had their turn.
    world.pay(&messenger, 2).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    time_passes(&world).await;
    world.count(&messenger, MessageState::Delivered, 2).await;
}

#[tokio::test]
async fn a_time_that_is_past_delays_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let time = SystemTime::now() - HOUR;
    messenger.scope(async { handled_delayed(&order(1), time, async { Ok(()) }).await }).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn an_operator_delivers_it_now() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    pay_later(&world, &messenger, 1, HOUR).await;
    world.count(&messenger, MessageState::Confirmed, 1).await;
    let id = only(&messenger, MessageState::Confirmed).await.id;
    messenger.admin().retry(id, "the customer waits").await.expect("is tried");
    world.count(&messenger, MessageState::Delivered, 1).await;
}

/// Its id is older than what the consumer remembers. Its age counts from the end of the delay.
#[tokio::test]
async fn a_delay_beyond_the_inboxs_memory_is_no_reason_to_refuse_it() {
    let world = World::new().await;
    let retention = Duration::from_secs(5);
    let consumer = world.consumer().inbox_retention(retention);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    let began = Instant::now();
    pay_later(&world, &messenger, 1, HOUR).await;
    world.count(&messenger, MessageState::Confirmed, 1).await;
    wait_until("its id to be too old", async || began.elapsed() > retention).await;
    let id = only(&messenger, MessageState::Confirmed).await.id;
    messenger.admin().retry(id, "it is time").await.expect("is tried");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.effects_of_orders().await, [1]);
    assert_eq!(messenger.stats().await.expect("counts").dead, 0);
    // The record lasts as long as the message is not too old, wherever its clock is.
    let stored = number(&world.books, "SELECT received_at FROM tm_inbox").await;
    let due = number(&world.store(), "SELECT deliver_at FROM tm_message WHERE deliver_at IS NOT NULL").await;
    assert!(stored >= due, "received at {stored}, due at {due}");
}

/// A person's word is more than a time.
#[tokio::test]
async fn a_dead_message_that_is_late_is_delivered_when_an_operator_says_so() {
    let world = World::new().await;
    world.listener.will(1, [Action::Reject, Action::Write]);
    let messenger = world.messenger().await;
    let call = async { fenced_expiring(&order(1), HOUR, commit(&world, 1)).await };
    messenger.scope(call).await.expect("ok");
    world.count(&messenger, MessageState::Dead, 1).await;
    run(&world.store(), "UPDATE tm_message SET expires_at = 1").await.expect("updates");
    let id = only(&messenger, MessageState::Dead).await.id;
    messenger.admin().retry(id, "better late than never").await.expect("is tried");
    world.count(&messenger, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn what_expires_before_it_can_be_delivered_never_is_and_is_pruned() {
    let world = World::new().await;
    // Confirms, and delivers nothing.
    let idle = World::start(world.builder().settings(fast().deliver(false))).await;
    let brief = Duration::from_millis(1);
    let call = async { fenced_expiring(&order(1), brief, commit(&world, 1)).await };
    idle.scope(call).await.expect("ok");
    world.count(&idle, MessageState::Confirmed, 1).await;
    let messenger = world.messenger().await;
    world.count(&messenger, MessageState::Expired, 1).await;
    let id = only(&messenger, MessageState::Expired).await.id;
    messenger.admin().retry(id, "test").await.expect_err("it is over");
    // One that has time is delivered.
    let call = async { fenced_expiring(&order(2), HOUR, commit(&world, 2)).await };
    messenger.scope(call).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.effects_of_orders().await, [2]);
    assert_eq!(messenger.stats().await.expect("counts").expired, 1);
    assert!(messenger.shutdown(Duration::from_secs(30)).await);

    let tidy = fast()
        .retention(Duration::from_millis(100))
        .check_back_horizon(Duration::from_millis(99))
        .janitor_interval(Duration::from_millis(20));
    let janitor = world.messenger_with(tidy).await;
    world.count(&janitor, MessageState::Expired, 0).await;
    wait_until("the fence rows to go", async || world.fences(1).await == 0).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_an_error_before_the_body() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let refused = |result: Result<(), ShopError>, expected: &str| {
        let Err(ShopError::Message(error)) = result else { panic!("accepted: {result:?}") };
        assert_eq!((error.kind(), error.body_ran()), (ErrorKind::InvalidMessage, false), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let call = async { fenced_delayed(&order(1), Duration::MAX, async { panic!("the body ran") }).await };
    refused(messenger.scope(call).await, "more than ten years");
    let call = async { fenced_expiring(&order(1), Duration::ZERO, async { panic!("the body ran") }).await };
    refused(messenger.scope(call).await, "`expires_in` is 0");
}

/// The same things, said of what a body sends.
#[tokio::test]
async fn a_body_may_send_with_a_delay_and_in_any_format() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let bytes = "in a format of its own".as_bytes().to_vec();
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        send(Message::json("shop", "order.later", &order(1))?.delay(HOUR).priority(9)).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced_bytes(bytes.clone(), body).await }).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert!(is_in(&only(&messenger, MessageState::Confirmed).await, HOUR));
    let late = Message::bytes("shop", "k", "t", "").delay(Duration::MAX);
    let body = async {
        let _tx = begin(&world.shop).await?;
        let error: Error = send(late.clone()).await.expect_err("more than ten years");
        assert_eq!(error.kind(), ErrorKind::InvalidMessage);
        Err(ShopError::Declined)
    };
    messenger.scope(async { fenced_bytes::<()>(bytes.clone(), body).await }).await.expect_err("declined");
}
