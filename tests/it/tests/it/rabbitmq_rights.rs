//! The production checklist's commands, run on a broker of their own: with no more rights than they
//! give, messages get from the payments' side to accounting, failures and dead letters included.

use std::time::Duration;

use it::{Action, ScriptedConsumer, order, send, wait_until};
use transactional_message::{
    Consumer, ExchangeKind, Message, MessageState, Messenger, MessengerBuilder, RabbitMq,
};

use crate::World;

const CHECKLIST: &str = include_str!("../../../../PRODUCTION.md");
const QUEUE: &str = "accounting.vouchers";

fn consumer(world: &World, listener: &ScriptedConsumer) -> Consumer {
    let pause = Duration::from_millis(50);
    Consumer::new(QUEUE, world.books.clone(), listener.clone())
        .bind("payments", "payment.completed")
        .max_attempts(2)
        .retry_delays([pause])
}

/// Runs the checklist's commands that make users and give them rights, with this password.
async fn follow_the_checklist(broker: &services::rabbitmq::Server, password: &str) {
    let commands = CHECKLIST.lines().filter_map(|line| line.strip_prefix("rabbitmqctl "));
    let about_users =
        |command: &&str| command.starts_with("add_user") || command.starts_with("set_permissions");
    let mut count = 0;
    for command in commands.filter(about_users) {
        let words = command.split_whitespace().map(|word| match word.trim_matches(['\'', '"']) {
            word if word.starts_with("$PASSWORD") => password.to_owned(),
            word => word.to_owned(),
        });
        broker.ctl(&words.collect::<Vec<_>>()).await.expect(command);
        count += 1;
    }
    assert_eq!(count, 4, "two users, and the rights of each");
}

fn by(
    builder: MessengerBuilder,
    broker: &services::rabbitmq::Server,
    user: &str,
    password: &str,
) -> MessengerBuilder {
    let url = format!("amqp://{user}:{password}@127.0.0.1:{}/%2f", broker.port());
    builder.rabbitmq(RabbitMq::new(url).exchange("payments", ExchangeKind::Topic).passive())
}

async fn pay(messenger: &Messenger, id: u64) {
    let message = Message::json("payments", "payment.completed", &order(id)).expect("encodes");
    send(messenger, message).await;
}

#[tokio::test]
async fn the_checklists_rights_are_enough() {
    let broker = services::rabbitmq::start().await.expect("RabbitMQ starts");
    let (owner, payments, accounting) = (World::new().await, World::new().await, World::new().await);
    // Somebody with all rights creates exchange and queues.
    let declaring = RabbitMq::new(broker.url()).exchange("payments", ExchangeKind::Topic);
    let consumer_of = |world: &World| consumer(world, &world.listener);
    let first = World::start(owner.builder().rabbitmq(declaring).consumer(consumer_of(&owner))).await;
    pay(&first, 1).await;
    wait_until("the first effect", async || owner.all_effects().await == 1).await;
    assert!(first.shutdown(Duration::from_secs(10)).await);

    follow_the_checklist(&broker, "one.time").await;
    let sender = World::start(by(payments.builder(), &broker, "shop-payments", "one.time")).await;
    accounting.listener.will(2, [Action::Fail, Action::Write]);
    accounting.listener.will(3, [Action::Fail]);
    let receiver = by(accounting.builder(), &broker, "shop-accounting", "one.time");
    let receiver = World::start(receiver.consumer(consumer_of(&accounting))).await;
    for id in 2..=4 {
        pay(&sender, id).await;
    }
    wait_until("the effects", async || accounting.effects_of_orders().await == [2, 4]).await;
    payments.count(&sender, MessageState::Delivered, 3).await;
    wait_until("the dead letter", async || {
        let queues = broker.ctl(&["list_queues", "name", "messages"]).await.expect("lists");
        queues.lines().any(|line| line.split_whitespace().eq(["accounting.vouchers.dead", "1"]))
    })
    .await;
    assert!(
        sender.shutdown(Duration::from_secs(10)).await && receiver.shutdown(Duration::from_secs(10)).await
    );
}
