//! A consumer that takes several messages at once: one transaction, and one by one where that fails.

use std::time::Duration;

use it::{Action, Dialect, ShopError, fast, order, run};
use transactional_message::{Consumer, ErrorKind, Message, MessageState, Messenger, begin, send_all};

use super::decided::decides;
use crate::{Db, World};

const MANY: u64 = 200;
const SIZE: usize = 50;

fn consumer(world: &World) -> Consumer {
    let listener = world.listener.clone();
    Db::batch_consumer("books", SIZE, world.books.clone(), listener).bind("shop", "#").concurrency(1)
}

/// All of them at once, so that they arrive together.
async fn send_many(world: &World, messenger: &Messenger, orders: impl IntoIterator<Item = u64>) {
    let messages: Vec<_> = orders
        .into_iter()
        .map(|id| Message::json("shop", "order.paid", &order(id)).expect("encodes"))
        .collect();
    let body = async {
        let tx = begin(&world.shop).await?;
        send_all(messages).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.scope(async { decides(body).await }).await.expect("ok");
}

#[tokio::test]
async fn many_are_handled_together_each_with_one_effect() {
    let world = World::new().await;
    let messenger = World::start(world.builder().consumer(consumer(&world))).await;
    send_many(&world, &messenger, 0..MANY).await;
    world.count(&messenger, MessageState::Delivered, MANY).await;
    assert_eq!(world.effects_of_orders().await, (0..MANY).collect::<Vec<_>>());
    let batches = world.listener.batches();
    assert!(batches.iter().all(|size| *size <= SIZE), "{batches:?}");
    assert!(batches.iter().any(|size| *size > 1), "{batches:?}");
    assert_eq!(batches.iter().sum::<usize>() as u64, MANY, "none was handled twice: {batches:?}");
}

/// Those that fail are handled by themselves, and their neighbours lose nothing.
#[tokio::test]
async fn what_is_wrong_with_one_is_no_others_concern() {
    let world = World::new().await;
    let acts = [(10, Action::Fail), (20, Action::Panic), (40, Action::Never)];
    for (id, act) in acts {
        // Once in a batch, once by itself, and then it is well.
        world.listener.will(id, [act, act, Action::Write]);
    }
    world.listener.will(30, [Action::Reject]);
    let settings = fast().delivery_attempts(5);
    let consumer = consumer(&world).handler_timeout(Duration::from_millis(300)).max_attempts(5);
    let messenger = World::start(world.builder().settings(settings).consumer(consumer)).await;
    send_many(&world, &messenger, 0..MANY).await;
    world.count(&messenger, MessageState::Delivered, MANY - 1).await;
    world.count(&messenger, MessageState::Dead, 1).await;
    let expected: Vec<_> = (0..MANY).filter(|id| *id != 30).collect();
    assert_eq!(world.effects_of_orders().await, expected);
    let dead = messenger.admin().list(MessageState::Dead, None, 2).await.expect("lists").remove(0);
    assert_eq!(dead.reason.as_deref(), Some("no such account"), "rejected, and not tried five times");
}

/// What came again is no reason to do anything twice.
#[tokio::test]
async fn one_that_comes_again_spoils_no_batch() {
    let world = World::new().await;
    let messenger = World::start(world.builder().consumer(consumer(&world))).await;
    send_many(&world, &messenger, 0..MANY).await;
    world.count(&messenger, MessageState::Delivered, MANY).await;
    // As after a crash before the acknowledgement was recorded.
    let again = "UPDATE tm_message SET state = 1, finished_at = NULL, due_at = 0";
    assert_eq!(run(&world.store(), again).await.expect("updates"), MANY);
    send_many(&world, &messenger, MANY..2 * MANY).await;
    world.count(&messenger, MessageState::Delivered, 2 * MANY).await;
    assert_eq!(world.effects_of_orders().await, (0..2 * MANY).collect::<Vec<_>>());
    assert_eq!(world.listener.orders(), (0..2 * MANY).collect::<Vec<_>>(), "the inbox knew");
}

#[tokio::test]
async fn a_size_that_makes_no_sense_is_refused() {
    let world = World::new().await;
    for size in [0, 1001] {
        let consumer = Db::batch_consumer("books", size, world.books.clone(), world.listener.clone());
        let built = world.builder().consumer(consumer.bind("shop", "#")).build().await;
        let error = built.expect_err("a bad size");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("a batch must have 1 to 1000 messages"), "{error}");
    }
}
