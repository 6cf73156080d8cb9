//! A database that crashed and came back without its last moment: what it had confirmed is half again, while the
//! process that confirmed it goes on.

use std::time::Duration;

use it::{Action, Connection, Dialect, Reply, wait_until};
use transactional_message::MessageState;

use crate::{Db, World};

/// For how long a handler has a message in hand: what is done meanwhile takes far less.
const IN_HAND: Duration = Duration::from_secs(3);

/// What a crash does to a confirm that was not on disk yet. The connection is there already: the message is in hand, but
/// not for long.
async fn forget_the_confirm(world: &World, store: &mut Connection<Db>, id: u64) {
    wait_until("the message to be on its way", async || world.listener.orders().contains(&id)).await;
    let forgotten = Db::run(store, "UPDATE tm_message SET state = 0 WHERE state = 1").await;
    assert_eq!(forgotten.expect("updates"), 1, "it was in hand still");
}

#[tokio::test]
async fn what_was_delivered_meanwhile_is_asked_about_and_delivered() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in [1, 2] {
        world.listener.will(id, [Action::Slow(IN_HAND), Action::Write]);
    }
    world.oracle.say(2, vec![Reply::Confirm]);
    let mut store = world.store().acquire().await.expect("acquires");
    world.pay(&messenger, 1).await.expect("pays");
    forget_the_confirm(&world, &mut store, 1).await;
    world.handle(&messenger, 2).await.expect("ok");
    forget_the_confirm(&world, &mut store, 2).await;
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(world.effects_of_orders().await, [1, 2]);
    assert_eq!(
        world.oracle.asked(1).len() + world.oracle.asked(2).len(),
        1,
        "the fence knows about the other"
    );
}

#[tokio::test]
async fn what_was_given_up_meanwhile_is_asked_about_and_given_up() {
    let world = World::new().await;
    let consumer = world.consumer().handler_timeout(IN_HAND).max_attempts(1);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    world.listener.will(1, [Action::Never]);
    let mut store = world.store().acquire().await.expect("acquires");
    world.pay(&messenger, 1).await.expect("pays");
    forget_the_confirm(&world, &mut store, 1).await;
    world.count(&messenger, MessageState::Dead, 1).await;
    assert!(world.listener.heard_of(1).len() > 1, "it came again before");
}
