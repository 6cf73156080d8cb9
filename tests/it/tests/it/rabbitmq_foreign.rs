//! Messages of publishers that know nothing of this crate.

use std::time::Duration;

use it::{Action, Rabbit, order, wait_until};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use transactional_message::{Consumer, Foreign, Messenger};

use crate::World;

async fn start(
    world: &World,
    rabbit: &Rabbit,
    key: impl Fn(&Foreign<'_>) -> Option<String> + Send + Sync + 'static,
) -> (Messenger, String) {
    let queue = rabbit.queue("books");
    let consumer = Consumer::new(&queue, world.books.clone(), world.listener.clone())
        .bind(&rabbit.exchange, "#")
        .retry_delays([Duration::from_millis(50)])
        .identified_by(key);
    let messenger = World::start(rabbit.with(world.builder()).consumer(consumer)).await;
    rabbit.is_consumed(&queue).await;
    (messenger, queue)
}

fn body(id: u64) -> Vec<u8> {
    serde_json::to_vec(&order(id)).expect("encodes")
}

fn receipt(number: i32) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("receipt".into(), AMQPValue::LongInt(number));
    BasicProperties::default().with_headers(headers)
}

/// Each twice, and the effect of each once, also of one that is tried again.
#[tokio::test]
async fn what_a_function_identifies_has_its_effect_once() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    world.listener.will(2, [Action::Fail, Action::Write]);
    let (_messenger, queue) = start(&world, &rabbit, |message| {
        let header = message.headers.iter().find(|(name, _)| name == "receipt");
        message.message_id.map(str::to_owned).or(header.map(|(_, number)| format!("receipt {number}")))
    })
    .await;
    for _ in 0..2 {
        let named = BasicProperties::default().with_message_id("till 7, no. 1".into());
        rabbit.publish("sale", &body(1), named).await;
        rabbit.publish("sale", &body(2), receipt(2)).await;
        rabbit.publish("sale", &body(3), receipt(3)).await;
    }
    wait_until("the effects", async || world.all_effects().await == 3).await;
    rabbit.has(&queue, 0).await;
    rabbit.has(&format!("{queue}.retry.50ms"), 0).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 3]);
    assert_eq!(world.listener.heard_of(2).len(), 2, "once failed, once done");
    // Without a key and without a UUID, there is nothing to recognise it by.
    rabbit.publish("sale", &body(4), BasicProperties::default()).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
    assert!(dead.header("x-tm-reason").expect("a reason").contains("no `message_id`"));
}

#[tokio::test]
async fn a_function_that_panics_costs_its_message_alone() {
    let (world, rabbit) = (World::new().await, Rabbit::new().await);
    let (_messenger, queue) = start(&world, &rabbit, |message| {
        assert!(!message.body.is_empty(), "on purpose");
        message.message_id.map(str::to_owned)
    })
    .await;
    rabbit.publish("sale", b"", BasicProperties::default().with_message_id("1".into())).await;
    rabbit.publish("sale", &body(2), BasicProperties::default().with_message_id("2".into())).await;
    wait_until("the effect", async || world.all_effects().await == 1).await;
    let dead = rabbit.take(&format!("{queue}.dead"), 1).await.remove(0);
    assert!(dead.header("x-tm-reason").expect("a reason").contains("`identified_by` was given panicked"));
}
