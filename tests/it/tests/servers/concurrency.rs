//! How many messages a consumer handles at once, changed while it runs.

use it::{Action, wait_until};

use crate::World;

#[tokio::test]
async fn a_consumers_concurrency_changes_while_it_runs() {
    let world = World::new().await;
    let messenger = World::start(world.builder().consumer(world.consumer().concurrency(1))).await;
    // They hold their places until the test ends.
    for id in [0, 1] {
        world.listener.will(id, [Action::Never]);
        world.handle(&messenger, id).await.expect("ok");
    }
    wait_until("the first to be begun", async || world.listener.heard().len() == 1).await;
    messenger.set_concurrency("books", 3).expect("there is one");
    wait_until("the second to be begun", async || world.listener.heard().len() == 2).await;
    world.handle(&messenger, 2).await.expect("ok");
    wait_until("the third place to be used", async || world.effects_of_orders().await == [2]).await;

    messenger.set_concurrency("books", 2).expect("there is one");
    world.handle(&messenger, 3).await.expect("ok");
    // A consumer beside it would have begun its own by then.
    let (beside, listener) = ("beside", World::another_listener("beside"));
    messenger.add_consumer(world.consumer_named(beside, &listener)).await.expect("added");
    world.handle(&messenger, 4).await.expect("ok");
    wait_until("the other consumer to have handled it", async || listener.orders().contains(&4)).await;
    assert_eq!(world.listener.orders(), [0, 1, 2], "both places are taken");
    messenger.set_concurrency("books", 3).expect("there is one");
    wait_until("the rest", async || world.listener.orders() == [0, 1, 2, 3, 4]).await;

    let unknown = messenger.set_concurrency("boks", 2).expect_err("unknown").to_string();
    assert!(unknown.contains("no such consumer, but `beside`, `books`"), "{unknown}");
    let none = messenger.set_concurrency("books", 0).expect_err("refused").to_string();
    assert!(none.contains("at least 1"), "{none}");
}
