//! A half belongs to the fence of one database: another one answers nothing, and is changed in nothing.

use it::{Dialect, Place, Process, ShopError, fast, fenced, handled, listed, number, order, run, wait_until};
use transactional_message::{ErrorKind, MessageState, Messenger, begin};
use uuid::Uuid;

use crate::{Db, World};

/// Sets the identity, as if the pool's name led to another database from now on.
async fn set_identity(world: &World, identity: Uuid) {
    let sql = format!("UPDATE tm_fence_database SET identity = {}", Db::id(identity));
    assert_eq!(run(&world.shop, sql).await.expect("updates"), 1);
}

/// The identity, as the half of a call that runs has it.
async fn identity(messenger: &Messenger) -> Uuid {
    let half = messenger.admin().list(MessageState::Half, None, 1).await.expect("lists").remove(0);
    half.answered_by.strip_prefix("fence:").expect("a fence").parse().expect("an identity")
}

#[tokio::test]
async fn a_database_that_was_swapped_answers_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let own = std::sync::Mutex::new(Uuid::nil());
    let body = async {
        let identity = identity(&messenger).await;
        *own.lock().expect("sole") = identity;
        set_identity(&world, Uuid::new_v4()).await;
        Ok(begin(&world.shop).await.map(drop)?)
    };
    let error =
        messenger.scope(async { fenced::<()>(&order(1), body).await }).await.expect_err("another one");
    let error = error.message();
    assert_eq!(error.kind(), ErrorKind::Misuse, "{error}");
    assert!(error.to_string().contains("another database than the messenger's fence"), "{error}");
    wait_until("the question", async || {
        let halves = listed(&messenger, MessageState::Half, 2).await;
        halves.iter().flatten().next().and_then(|half| half.reason.as_deref()).is_some_and(|reason| {
            reason.contains("the pool leads to another database than the message belongs to")
        })
    })
    .await;
    assert_eq!(number(&world.shop, "SELECT count(*) FROM tm_fence").await, 0, "no tombstone");
    world.shop_is_clean().await;
    // The right one is back.
    set_identity(&world, own.into_inner().expect("sole")).await;
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(world.fences(2).await, 1);
}

#[tokio::test]
async fn a_messenger_with_another_fence_leaves_the_halves_to_others() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (reached, mut wait) = tokio::sync::mpsc::channel(2);
    let process = Process::start(move || async move {
        let messenger = World::start(elsewhere.builder()).await;
        let body = async || {
            reached.send(()).await.expect("waits");
            std::future::pending::<Result<(), ShopError>>().await
        };
        let (one, two) = (order(1), order(2));
        let calls = async { tokio::join!(fenced(&one, body()), handled(&two, body())) };
        let _ = messenger.scope(calls).await;
    });
    for _ in 0..2 {
        wait.recv().await.expect("gets there");
    }
    process.kill().await;
    // On the same store, with another fence.
    let other = World::new().await;
    let builder = Messenger::builder(world.place.database("store"))
        .settings(fast().check_back_attempts(1))
        .data(world.oracle.clone())
        .fence("orders", other.place.database("shop"));
    let stranger = World::start(builder).await;
    // When it has asked about the one that it can ask about, both leases have lapsed.
    world.count(&stranger, MessageState::Parked, 1).await;
    assert_eq!(world.oracle.asked(2).len(), 1);
    let half = stranger.admin().list(MessageState::Half, None, 2).await.expect("lists");
    assert_eq!((half.len(), half[0].business_key.as_deref(), half[0].attempts), (1, Some("1"), 0));
    for shop in [&world.shop, &other.shop] {
        assert_eq!(number(shop, "SELECT count(*) FROM tm_fence").await, 0, "no tombstone");
    }
    let messenger = world.messenger().await;
    world.count(&messenger, MessageState::Cancelled, 1).await;
}
