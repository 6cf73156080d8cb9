//! A database that crashed and came back without its last moment: what it had confirmed is half again, while the
//! process that confirmed it goes on.

use std::time::Duration;

use it::{Action, Reply, run, wait_until};
use transactional_message::MessageState;

use crate::World;

/// What a crash does to a confirm that was not on disk yet.
async fn forget_the_confirm(world: &World, id: u64) {
    wait_until("the message to be on its way", async || world.listener.orders().contains(&id)).await;
    run(&world.store(), "UPDATE tm_message SET state = 0 WHERE state = 1").await.expect("updates");
}

#[tokio::test]
async fn what_was_delivered_meanwhile_is_asked_about_and_delivered() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in [1, 2] {
        world.listener.will(id, [Action::Slow(Duration::from_millis(500)), Action::Write]);
    }
    world.oracle.say(2, vec![Reply::Confirm]);
    world.pay(&messenger, 1).await.expect("pays");
    forget_the_confirm(&world, 1).await;
    world.handle(&messenger, 2).await.expect("ok");
    forget_the_confirm(&world, 2).await;
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
    let consumer = world.consumer().handler_timeout(Duration::from_millis(500)).max_attempts(1);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    world.listener.will(1, [Action::Never]);
    world.pay(&messenger, 1).await.expect("pays");
    forget_the_confirm(&world, 1).await;
    world.count(&messenger, MessageState::Dead, 1).await;
    assert!(world.listener.heard_of(1).len() > 1, "it came again before");
}
