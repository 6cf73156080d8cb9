//! Where a fenced transaction may begin, and what it is told elsewhere.

use it::{Dialect, Place as _, ShopError, fenced, handled, order};
use transactional_message::{Error, ErrorKind, MessageState, Messenger, begin, withhold};

use crate::{Db, Place, World};

/// Runs a fenced body that must fail with an error of the crate.
async fn error_of(
    messenger: &Messenger,
    id: u64,
    body: impl Future<Output = Result<(), ShopError>> + Send,
) -> Error {
    messenger.scope(async { fenced(&order(id), body).await }).await.expect_err("refused").message()
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, text: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "`{error}` does not say `{text}`");
    assert!(error.body_ran(), "the body ran: {error}");
}

#[tokio::test]
async fn on_a_pool_a_pooled_connection_and_a_connection() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.pay(&messenger, 1).await.expect("on a pool");

    let mut pooled = world.shop.acquire().await.expect("acquires");
    let body = async {
        let mut tx = begin(&mut pooled).await?;
        World::write(&mut tx, 2).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(2), body).await }).await.expect("on a pooled connection");

    let mut plain = world.place.pool("shop", 1).acquire().await.expect("connects").detach();
    let body = async {
        let mut tx = begin(&mut plain).await?;
        World::write(&mut tx, 3).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(3), body).await }).await.expect("on a connection");
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1, 2, 3]);
    assert_eq!(world.orders().await, [1, 2, 3]);
    assert_eq!(world.fences(1).await, 3);
}

#[tokio::test]
async fn not_outside_a_call() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let error = messenger.scope(async { begin(&world.shop).await.map(drop) }).await.expect_err("outside");
    says(&error, ErrorKind::Misuse, "there is no #[transactional_message] call here");
    assert_eq!(withhold().expect_err("outside").kind(), ErrorKind::Misuse);
    let panic = std::panic::catch_unwind(transactional_message::call_id).expect_err("outside");
    let text = panic.downcast_ref::<String>().expect("text");
    assert!(text.contains("outside a #[transactional_message] function's body"), "{text}");
    world.shop_is_clean().await;
}

#[tokio::test]
async fn not_in_a_function_with_a_handler() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async { Ok(begin(&world.shop).await.map(drop)?) };
    let error =
        messenger.scope(async { handled(&order(1), body).await }).await.expect_err("handled").message();
    says(&error, ErrorKind::Misuse, "which is not fenced: write `fence` instead of `check_back`");
    world.settled(&messenger).await;
    assert_eq!(messenger.stats().await.expect("counts").cancelled, 1);
}

#[tokio::test]
async fn not_twice_and_not_after_a_commit() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let error = error_of(&messenger, 1, async {
        let _first = begin(&world.shop).await?;
        Ok(begin(&world.shop).await.map(drop)?)
    })
    .await;
    says(&error, ErrorKind::Misuse, "called twice");
    says(&error, ErrorKind::Misuse, "it::calls::fenced");

    let error = error_of(&messenger, 2, async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 2).await?;
        tx.commit().await?;
        Ok(begin(&world.shop).await.map(drop)?)
    })
    .await;
    says(&error, ErrorKind::AlreadyCommitted, "after `commit`");
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [2], "an error after the commit hides no success");
    world.shop_is_clean().await;
}

#[tokio::test]
async fn not_in_a_task_that_the_body_spawned() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let shop = world.shop.clone();
    let error = error_of(&messenger, 1, async {
        let task = tokio::spawn(async move { begin(&shop).await.map(drop) });
        Ok(task.await.expect("joins")?)
    })
    .await;
    says(&error, ErrorKind::Misuse, "tasks that a body spawns are outside");
    world.settled(&messenger).await;
    assert_eq!(world.fences(2).await, 1);
}

#[tokio::test]
async fn not_on_a_connection_with_an_open_transaction() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut theirs = world.shop.begin().await.expect("begins");
    let error = error_of(&messenger, 1, async { Ok(begin(&mut *theirs).await.map(drop)?) }).await;
    says(&error, ErrorKind::Misuse, "a connection with an open transaction");
    Db::run(&mut theirs, "INSERT INTO orders (id) VALUES (7)").await.expect("inserts");
    theirs.commit().await.expect("their transaction is unharmed");
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [7]);
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn not_on_another_database_and_not_without_tables() {
    let world = World::with_connections(1).await;
    let other = World::with_connections(1).await;
    let messenger = world.messenger().await;
    if <Place as it::Place>::ONE_SERVER {
        // A transaction there takes in the fence, too.
        let body = async { Ok(begin(&other.shop).await?.commit().await?) };
        messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
        world.settled(&messenger).await;
        assert_eq!((world.fences(1).await, world.listener.orders()), (1, vec![1]));
        return;
    }
    let error = error_of(&messenger, 1, async { Ok(begin(&other.shop).await.map(drop)?) }).await;
    says(&error, ErrorKind::Schema, "has no fence");
    says(&error, ErrorKind::Schema, "migrate");
    other.shop_is_clean().await;
    // With tables it is a fence, but of somebody else.
    let _theirs = other.messenger().await;
    let error = error_of(&messenger, 2, async { Ok(begin(&other.shop).await.map(drop)?) }).await;
    says(&error, ErrorKind::Misuse, "another database than the messenger's fence");
    world.settled(&messenger).await;
    other.shop_is_clean().await;
    world.shop_is_clean().await;
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn a_body_may_try_again_after_its_transaction_was_rolled_back() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    for (id, explicitly) in [(1, true), (2, false)] {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            World::write(&mut tx, id).await.expect_err("a duplicate");
            if explicitly {
                tx.rollback().await?;
            } else {
                drop(tx);
            }
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(id), body).await }).await.expect("the second time");
    }
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1, 2]);
    assert_eq!(world.orders().await, [1, 2]);
}

#[tokio::test]
async fn a_begin_that_fails_can_be_tried_again() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let impatient = world.place.impatient("shop");
    let outage = world.outage("shop").await;
    let body = async {
        let error = begin(&impatient).await.map(drop).expect_err("locked");
        says(&error, ErrorKind::Unavailable, "could not be opened");
        outage.end().await;
        let mut tx = begin(&impatient).await?;
        World::write(&mut tx, 1).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("the second time");
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_closed_pool_is_unavailable_and_nothing_is_sent() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let closed = world.place.pool("shop", 1);
    closed.close().await;
    let error = error_of(&messenger, 1, async { Ok(begin(&closed).await.map(drop)?) }).await;
    says(&error, ErrorKind::Unavailable, "could not be opened");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert!(world.listener.heard().is_empty());
}
