//! What must never be written to a log: payloads, header values.

use std::time::Duration;

use it::AnsweredBy;
use it::{Action, Connection, Log, Order, ShopError, fast, fenced, order};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Consumer, Message, MessageState, Messenger, Received, begin};

use crate::{Db, World};

/// What is in every payload and header here.
const SECRET: &str = "s3cr3t";

/// Takes only orders.
async fn orders(_: &mut Connection<Db>, _: Received<Order>) -> Result<(), String> {
    Ok(())
}

async fn send(messenger: &Messenger, exchange: &str, body: String) {
    let message = Message::bytes(exchange, "x", "application/json", body).header("private", SECRET);
    let handler = AnsweredBy::Handler("it.handled".into());
    let ended: Result<(), ShopError> = messenger.call(it::call(handler, [message]), async { Ok(()) }).await;
    ended.expect("ok");
}

/// A payload that the business transaction writes.
async fn amended(world: &World, messenger: &Messenger) {
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.amend(&Order { note: SECRET.into(), ..order(2) })?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(2), body).await }).await.expect("committed");
}

/// Everything that is logged, at the lowest level, when messages are delivered, fail, can't be
/// decoded, are amended and find nobody, and when a handler can't read what it is asked about.
#[tokio::test]
async fn payloads_are_in_no_log_and_no_reason() {
    let (log, _guard) = Log::listen(LevelFilter::TRACE);
    let world = World::new().await;
    let settings = fast().delivery_attempts(3).check_back_attempts(2);
    let typed = Consumer::new("typed", world.books.clone(), orders).bind("shop", "#");
    let typed = typed.undecodable_after(Duration::ZERO);
    let messenger = World::start(
        world.builder().settings(settings).consumer(world.consumer().max_attempts(2)).consumer(typed),
    )
    .await;
    world.listener.will(1, [Action::Fail, Action::Fail]);
    send(&messenger, "shop", format!("{{\"id\": 1, \"note\": \"{SECRET}\"}}")).await;
    send(&messenger, "shop", format!("{{\"id\": \"{SECRET}\"}}")).await;
    send(&messenger, "nowhere", format!("\"{SECRET}\"")).await;
    let body = Message::bytes("shop", "x", "application/json", format!("\"{SECRET}\""));
    let handler = AnsweredBy::Handler("it.handled".into());
    let vanished = async { panic!("on purpose") };
    it::vanish(messenger.call::<(), ShopError, _>(it::call(handler, [body]), vanished)).await;
    amended(&world, &messenger).await;
    world.count(&messenger, MessageState::Parked, 1).await;
    world.settled(&messenger).await;

    assert!(!log.lines_with(&["can't be delivered"]).is_empty(), "what is searched is a log");
    let hexadecimal = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    assert_eq!(log.lines_with(&[SECRET, &hexadecimal, &hexadecimal.to_uppercase()]), [] as [String; 0]);
    for state in MessageState::ALL {
        for message in messenger.admin().list(state, None, 100).await.expect("lists") {
            assert!(!format!("{message:?}").contains(SECRET), "{message:?}");
        }
    }
}
