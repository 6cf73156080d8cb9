//! Two services keep their messages in one store, and have a virtual host each.

use std::time::Duration;

use it::{ScriptedConsumer, fast};
use transactional_message::{ExchangeKind, MessageState, MessengerBuilder, RabbitMq};

use crate::World;

/// A builder of a service that delivers to the virtual host with its name, and consumes there.
fn service(world: &World, broker: &str, name: &str, listener: &ScriptedConsumer) -> MessengerBuilder {
    let (broker, _) = broker.rsplit_once('/').expect("a virtual host");
    let rabbitmq = RabbitMq::new(format!("{broker}/{name}")).exchange("shop", ExchangeKind::Topic);
    world.builder().service(name).rabbitmq(rabbitmq).consumer(world.consumer_named(name, listener))
}

#[tokio::test]
async fn each_delivers_to_its_own() {
    let broker = services::rabbitmq::start().await.expect("RabbitMQ starts");
    let user = broker.url().split(['/', ':']).nth(3).expect("a user").to_owned();
    for name in ["orders", "billing"] {
        broker.ctl(&["add_vhost", name]).await.expect("adds");
        broker.ctl(&["set_permissions", "-p", name, &user, ".*", ".*", ".*"]).await.expect("permits");
    }
    let world = World::new().await;
    let [orders, billing] = ["orders", "billing"].map(World::another_listener);
    let other = World::start(service(&world, broker.url(), "billing", &billing)).await;
    // What nobody holds comes to relays from the table.
    let undelivered = fast().deliver(false);
    let silent = World::start(world.builder().service("orders").settings(undelivered)).await;
    for id in 0..20 {
        world.handle(&silent, id).await.expect("ok");
    }
    world.count(&silent, MessageState::Confirmed, 20).await;
    for id in 20..40 {
        world.handle(&other, id).await.expect("ok");
    }
    world.count(&silent, MessageState::Delivered, 20).await;
    let own = World::start(service(&world, broker.url(), "orders", &orders)).await;
    for id in 40..60 {
        world.handle(&own, id).await.expect("ok");
    }
    world.count(&own, MessageState::Delivered, 60).await;
    it::wait_until("every effect", async || world.all_effects().await == 60).await;
    let of_orders: Vec<u64> = (0..20).chain(40..60).collect();
    assert_eq!((orders.orders(), billing.orders()), (of_orders, (20..40).collect::<Vec<_>>()));
    for messenger in [own, other, silent] {
        assert!(messenger.shutdown(Duration::from_secs(10)).await);
    }
}
