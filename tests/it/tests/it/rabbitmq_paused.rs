//! A paused consumer of a queue at RabbitMQ finishes what it has in hand, and takes no more.

use std::time::Duration;

use it::{Action, Rabbit, fast, order, wait_until};
use transactional_message::{Message, Messenger, Pausable};

use crate::World;

const HOUR: Duration = Duration::from_hours(1);

async fn send(messenger: &Messenger, rabbit: &Rabbit, id: u64) {
    let message = Message::json(&rabbit.exchange, "order.paid", &order(id)).expect("encodes");
    it::send(messenger, message).await;
}

async fn start(world: &World, rabbit: &Rabbit, queue: &str) -> Messenger {
    let consumer = world.consumer_named(queue, &world.listener).bind(&rabbit.exchange, "#").concurrency(4);
    World::start(rabbit.with(world.builder()).settings(fast()).consumer(consumer)).await
}

#[tokio::test]
async fn a_paused_consumer_takes_no_more_until_it_is_to_go_on() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let queue = rabbit.queue("books");
    let what = Pausable::Queue(queue.clone());
    world.listener.will(1, [Action::Slow(Duration::from_secs(2))]);
    let messenger = start(&world, &rabbit, &queue).await;
    rabbit.is_consumed(&queue).await;
    send(&messenger, &rabbit, 1).await;
    wait_until("it to be in hand", async || world.listener.orders() == [1]).await;

    messenger.admin().pause(&what, HOUR, "the books are closed").await.expect("pauses");
    rabbit.is_not_consumed(&queue).await;
    // The first one is in hand still.
    for id in 2..=20 {
        send(&messenger, &rabbit, id).await;
    }
    rabbit.has(&queue, 19).await;
    wait_until("what is in hand to be finished", async || world.effects_of_orders().await == [1]).await;

    // Neither does another process, nor one whose connection was lost.
    assert!(messenger.shutdown(HOUR).await);
    let messenger = start(&world, &rabbit, &queue).await;
    send(&messenger, &rabbit, 21).await;
    rabbit.has(&queue, 20).await;
    rabbit.is_not_consumed(&queue).await;

    messenger.admin().resume(&what, "they are open").await.expect("resumes");
    wait_until("all effects", async || world.effects_of_orders().await.len() == 21).await;
    rabbit.is_consumed(&queue).await;
    rabbit.has(&queue, 0).await;
    // And it ends by itself: not before it was seen.
    messenger.admin().pause(&what, Duration::from_secs(6), "a moment").await.expect("pauses");
    rabbit.is_not_consumed(&queue).await;
    send(&messenger, &rabbit, 22).await;
    wait_until("the last effect", async || world.effects_of_orders().await.len() == 22).await;
    assert_eq!(world.all_effects().await, 22, "each happens once");
}
