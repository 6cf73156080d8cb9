//! SQLite has one writer a file: what would wait for itself is refused at once.

use std::time::Duration;

use it::AnsweredBy;
use it::{Action, fenced, handled, order, wait_until};
use transactional_message::{ErrorKind, MessageState, begin};

use crate::World;

#[tokio::test]
async fn a_call_inside_an_open_transaction_is_refused_at_once_and_before_and_after_it_is_not() {
    let world = World::new().await;
    let messenger = World::start(world.builder_on("shop").consumer(world.consumer())).await;
    let inner = async |id| messenger.scope(async { handled(&order(id), async { Ok(()) }).await }).await;
    let (before, after) = (order(2), order(3));
    let body = async {
        handled(&before, async { Ok(()) }).await?;
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        let error = handled(&order(4), async { Ok(()) }).await.expect_err("would wait for itself").message();
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(!error.body_ran());
        let text = error.to_string();
        assert!(
            text.contains("it would wait for itself; call it before `begin` or after `commit`"),
            "{text}"
        );
        assert!(text.contains("it::calls::handled") && text.contains("it::calls::fenced"), "{text}");
        tx.commit().await?;
        handled(&after, async { Ok(()) }).await
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    inner(5).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1, 2, 3, 5]);
}

/// Without a message there is no fence row that could find it out, but SQLite does.
#[tokio::test]
async fn a_call_without_a_message_learns_that_its_transaction_was_ended_underneath() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    };
    let ended: Result<(), it::ShopError> = messenger.call(it::call(AnsweredBy::Fence, []), body).await;
    ended.expect_err("nothing was committed");
    world.shop_is_clean().await;
    assert!(world.orders().await.is_empty());
}

/// Its transaction is the file's only writer.
#[tokio::test]
async fn a_handler_that_never_returns_stops_nobody_for_longer_than_its_timeout() {
    let world = World::new().await;
    let consumer = world.consumer().max_attempts(2).handler_timeout(Duration::from_millis(500));
    let messenger = World::start(world.builder_on("books").consumer(consumer)).await;
    world.listener.will(1, [Action::Never]);
    world.handle(&messenger, 1).await.expect("ok");
    wait_until("it to be begun", async || !world.listener.heard().is_empty()).await;
    for id in 2..6 {
        world.handle(&messenger, id).await.expect("the file's writer is free again");
    }
    world.count(&messenger, MessageState::Dead, 1).await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [2, 3, 4, 5]);
    let dead = messenger.admin().list(MessageState::Dead, None, 1).await.expect("lists").remove(0);
    assert_eq!(dead.attempts, 2);
    assert!(dead.reason.expect("a reason").contains("`handler_timeout`"));
}
