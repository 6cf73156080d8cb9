//! A large backlog of confirmed messages: delivered once each, in windows, while calls go on.

use std::time::Instant;

use futures_util::future::join_all;
use it::AnsweredBy;
use it::{ShopError, counted, fast, number, order, wait_until};
use transactional_message::{Message, MessageState, Messenger};

use crate::World;

const BACKLOG: u64 = 2000;
const OF_A_CALL: u64 = 100;
const WINDOW: usize = 32;
/// Far more than windows and queues together, far less than the backlog.
const FEW: u64 = BACKLOG / 4;

/// A call with many messages.
async fn confirm(messenger: &Messenger, first: u64) {
    let message = |id| Message::json("shop", "order.backlog", &order(id)).expect("encodes");
    let messages = (first..first + OF_A_CALL).map(message);
    let handler = AnsweredBy::Handler("it.handled".into());
    let ended: Result<(), ShopError> = messenger.call(it::call(handler, messages), async { Ok(()) }).await;
    ended.expect("ok");
}

#[tokio::test]
async fn is_delivered_once_each_and_fills_no_memory() {
    let world = World::new().await;
    let quiet = World::start(world.builder().settings(fast().deliver(false))).await;
    join_all((0..BACKLOG / OF_A_CALL).map(|call| confirm(&quiet, call * OF_A_CALL))).await;
    world.count(&quiet, MessageState::Confirmed, BACKLOG).await;

    let store = world.store();
    let settings = fast().relay_window(WINDOW).relay_queue(WINDOW);
    let messenger = world.messenger_with(settings).await;
    let began = Instant::now();
    let delivered = async || counted(&messenger).await.map_or(0, |stats| stats.delivered);
    let (mut before, mut calls) = (0, 0);
    while before < BACKLOG {
        let more = before + 1;
        wait_until("more to be delivered", async || {
            before = before.max(delivered().await);
            before >= more
        })
        .await;
        // What is read from the table is held; what is held is in memory.
        let held = "SELECT count(*) FROM tm_message WHERE state = 1 AND held_by IS NOT NULL";
        let held = number(&store, held).await.unsigned_abs();
        assert!(held <= FEW, "{held} messages in memory");
        world.handle(&messenger, BACKLOG + calls).await.expect("calls go on");
        calls += 1;
    }
    eprintln!("a backlog of {BACKLOG}: delivered in {:.1?}, with {calls} calls meanwhile", began.elapsed());
    world.settled(&messenger).await;
    let all: Vec<_> = (0..BACKLOG + calls).collect();
    assert_eq!(world.effects_of_orders().await, all);
    assert_eq!(world.listener.orders(), all, "each once: nobody died");
}
