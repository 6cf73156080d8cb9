//! What a consumer's handler takes besides its message, and what its errors say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use it::{Action, Connection, Order, ShopError, fast, handled, order, says, wait_until};
use transactional_message::testing::{Handled, Recorder};
use transactional_message::{Consumer, Data, ErrorKind, MessageState, RawPayload, Received};

use crate::{Db, World};

/// What the application has.
#[derive(Clone, Default)]
struct Tally(Arc<AtomicU64>);

async fn tallies(
    _connection: &mut Connection<Db>,
    message: Received<Order>,
    tally: Data<Tally>,
    prices: Data<Vec<u64>>,
) -> Result<(), ShopError> {
    tally.0.0.fetch_add(message.payload.id * prices[0], Ordering::SeqCst);
    Ok(())
}

async fn bytes(
    _connection: &mut Connection<Db>,
    message: Received<RawPayload>,
    tally: Data<Tally>,
) -> Result<(), String> {
    tally.0.0.fetch_add(message.payload.0.len() as u64, Ordering::SeqCst);
    Ok(())
}

#[tokio::test]
async fn a_handler_takes_the_applications_data() {
    let world = World::new().await;
    let tally = Tally::default();
    let sums = Consumer::new("sums", world.books.clone(), tallies).bind("shop", "order.handled");
    let sizes = Consumer::new("sizes", world.books.clone(), bytes).bind("shop", "order.fenced");
    let builder = world.builder().data(tally.clone()).data(vec![100_u64]);
    let messenger = World::start(builder.consumer(sums).consumer(sizes)).await;
    world.handle(&messenger, 1).await.expect("ok");
    world.handle(&messenger, 2).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(tally.0.load(Ordering::SeqCst), 300);
    world.pay(&messenger, 3).await.expect("pays");
    world.settled(&messenger).await;
    assert_eq!(tally.0.load(Ordering::SeqCst), 300 + br#"{"id":3,"note":""}"#.len() as u64);
}

#[tokio::test]
async fn data_that_is_not_there_is_missed_before_the_first_message() {
    let world = World::new().await;
    let sums = Consumer::new("sums", world.books.clone(), tallies).bind("shop", "#");
    let built = world.builder().data(vec![100_u64]).consumer(sums).build().await;
    let error = built.expect_err("the handler takes a tally");
    says(
        &error,
        ErrorKind::Configuration,
        &["the handler of the consumer `sums` takes `Data<", "Tally>`", "add `.data(..)`"],
    );
}

#[tokio::test]
async fn what_nothing_will_help_is_dead_at_once() {
    let world = World::new().await;
    world.listener.will(1, [Action::Reject]);
    let messenger = world.messenger().await;
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Dead, 1).await;
    let dead = messenger.admin().list(MessageState::Dead, None, 2).await.expect("lists");
    assert_eq!(dead[0].reason.as_deref(), Some("no such account"));
    assert_eq!(world.listener.heard_of(1).len(), 1, "not tried again");
    assert!(world.effects_of_orders().await.is_empty(), "its effect was rolled back");
}

#[tokio::test]
async fn a_handler_says_when_to_try_again() {
    const PAUSE: Duration = Duration::from_millis(700);
    let world = World::new().await;
    // By itself, the store tries again after 50 ms at most.
    world.listener.will(1, [Action::RetryAfter(PAUSE), Action::Write]);
    world.listener.will(2, [Action::RetryAfter(Duration::ZERO)]);
    let consumer = world.consumer().max_attempts(3);
    let messenger = World::start(world.builder().settings(fast()).consumer(consumer)).await;
    let began = Instant::now();
    world.handle(&messenger, 1).await.expect("ok");
    world.handle(&messenger, 2).await.expect("ok");
    // An attempt is an attempt.
    world.count(&messenger, MessageState::Dead, 1).await;
    wait_until("the first one", async || world.effects_of_orders().await == [1]).await;
    assert!(began.elapsed() >= PAUSE, "{:?}", began.elapsed());
    assert_eq!(world.listener.heard_of(1).len(), 2);
    let dead = messenger.admin().list(MessageState::Dead, None, 2).await.expect("lists");
    assert_eq!(dead[0].reason.as_deref(), Some("failed 3 times; the last time: no ink yet"));
}

#[tokio::test]
async fn a_handler_is_tested_without_a_broker() {
    let world = World::new().await;
    let tally = Tally::default();
    let configure = |builder: transactional_message::MessengerBuilder| {
        builder.data(world.oracle.clone()).data(tally.clone()).data(vec![10_u64]).settings(fast())
    };
    let recorder = Recorder::on_with(&world.shop, configure).await.expect("a recorder");
    for id in [1, 2, 3] {
        recorder.scope(handled(&order(id), async { Ok(()) })).await.expect("ok");
    }
    recorder.settle().await.expect("settles");
    let sums = Consumer::new("sums", world.books.clone(), tallies).bind("shop", "order.*");
    let others = Consumer::new("others", world.books.clone(), tallies).bind("shop", "item.#");
    for _ in 0..2 {
        assert_eq!(
            recorder.deliver(&sums).await.expect("delivers"),
            [Handled::Done, Handled::Done, Handled::Done]
        );
    }
    assert_eq!(recorder.deliver(&others).await.expect("delivers"), []);
    assert_eq!(tally.0.load(Ordering::SeqCst), 60, "each once");

    let pause = Duration::from_secs(9);
    for (id, act) in [(1, Action::Fail), (2, Action::Reject), (3, Action::RetryAfter(pause))] {
        world.listener.will(id, [act]);
    }
    let expected = [
        Handled::Again(None, "no ink".into()),
        Handled::Dead("no such account".into()),
        Handled::Again(Some(pause), "no ink yet".into()),
    ];
    assert_eq!(recorder.deliver(&world.consumer()).await.expect("delivers"), expected);
    world.listener.will(1, [Action::Panic]);
    let strict = world.consumer().max_attempts(1).inbox_retention(Duration::from_secs(8));
    let dead: Vec<_> = recorder.deliver(&strict).await.expect("delivers");
    let why = |handled: &Handled| match handled {
        Handled::Dead(why) => why.clone(),
        other => panic!("not dead: {other:?}"),
    };
    assert!(why(&dead[0]).contains("failed 1 times; the last time: the handler panicked"), "{dead:?}");
    let forgetful = world.consumer().inbox_retention(Duration::from_secs(8));
    let dead = recorder.deliver(&forgetful).await.expect("delivers");
    assert!(why(&dead[2]).contains("no ink yet; in 9s, when it was to be tried again"), "{dead:?}");
}
