//! A handler that is ended in the midst of a statement: the server ends that, too.

use std::time::Duration;

use it::{Action, wait_until};
use transactional_message::{MessageInfo, MessageState};

use crate::World;
use crate::scenarios::consumer_timeout::books_are_clean;

#[tokio::test]
async fn a_handler_that_waits_for_a_statement_keeps_neither_its_place_nor_its_locks() {
    let world = World::new().await;
    let consumer = world.consumer().concurrency(2).handler_timeout(Duration::from_millis(500));
    let messenger = World::start(world.builder().consumer(consumer)).await;
    for id in [1000, 1001] {
        world.listener.will(id, [Action::Stuck, Action::Write]);
        world.handle(&messenger, id).await.expect("ok");
    }
    wait_until("both to be begun", async || world.listener.heard().len() >= 2).await;
    for id in 0..10 {
        world.handle(&messenger, id).await.expect("ok");
    }
    // The second attempt needs the record that the first one has locked: until its statement ends, for ten minutes.
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..10).chain([1000, 1001]).collect::<Vec<_>>());
    let stuck = |message: &MessageInfo| ["1000", "1001"].map(Some).contains(&message.business_key.as_deref());
    let delivered = messenger.admin().list(MessageState::Delivered, None, 20).await.expect("lists");
    for message in delivered.into_iter().filter(stuck) {
        // On a busy machine, one that would have returned may be ended, too.
        let history = messenger.admin().history(message.id).await.expect("reads");
        assert!(
            message.attempts >= 1 && history[0].reason.contains("did not end within 500ms"),
            "{history:?}"
        );
    }
    books_are_clean(&world).await;
}
