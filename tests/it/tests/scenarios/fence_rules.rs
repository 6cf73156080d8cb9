//! Fenced functions that do without a transaction, call others, or say everything about a message.

use it::{Dialect, Log, fenced, fenced_amendable, order, run, wait_until};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{MessageState, begin, withhold};

use crate::{Db, World};

#[tokio::test]
async fn a_function_that_forgot_begin_is_named_and_its_message_parked() {
    let (log, _guard) = Log::listen(LevelFilter::ERROR);
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async {
        run(&world.shop, "INSERT INTO orders (id) VALUES (1)").await?;
        Ok(())
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("the caller gets its Ok");
    world.count(&messenger, MessageState::Parked, 1).await;
    let parked = messenger.admin().list(MessageState::Parked, None, 2).await.expect("lists").remove(0);
    assert_eq!(parked.function, "it::calls::fenced");
    assert!(parked.reason.expect("a reason").contains("without calling `begin` or `withhold`"));
    let told = log.lines_with(&["returned Ok without calling `begin`:"]);
    assert!(told.len() == 1 && told[0].contains("it::calls::fenced"), "{told:?}");
    let id = parked.id.to_string();
    wait_until("the log to name the message", async || {
        log.lines_with(&["is parked"]).iter().filter(|line| line.contains(&id)).count() == 1
    })
    .await;
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn a_repeated_request_that_finds_its_work_done_sends_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for said in [true, false] {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            Db::run(&mut tx, "SELECT count(*) FROM orders").await?;
            if said {
                withhold()?;
            }
            Ok(())
        };
        messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    }
    world.count(&messenger, MessageState::Cancelled, 2).await;
    assert_eq!(world.fences(2).await, 1, "the one that did not say so was asked");
    assert_eq!(world.fences(1).await, 0);
}

#[tokio::test]
async fn a_named_fence_and_all_properties_of_the_message() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let order = it::Order { id: 9, note: "acme".into() };
    let body = async { Ok(begin(&world.shop).await?.commit().await?) };
    messenger.scope(async { fenced_amendable(&order, body).await }).await.expect("ok");
    world.settled(&messenger).await;
    let heard = world.listener.heard().remove(0);
    assert_eq!((heard.routing_key.as_str(), heard.attempt, heard.order), ("order.9", 1, Some(9)));
    let properties =
        (Some("9".to_owned()), Some("order.v1".to_owned()), vec![("tenant".to_owned(), "acme".to_owned())]);
    assert_eq!(heard.properties, properties);
}
