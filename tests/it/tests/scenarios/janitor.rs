//! What is finished and old goes, with its fence row; what is not finished stays, however old.

use std::time::Duration;

use it::{
    Action, Dialect, Process, Reply, ShopError, answered, counted, fast, fenced, number, order, run,
    wait_until,
};
use transactional_message::{MessageState, Messenger, Settings, begin};
use uuid::{NoContext, Timestamp, Uuid};

use crate::{Db, World};

fn tidy() -> Settings {
    fast()
        .retention(Duration::from_millis(100))
        .check_back_horizon(Duration::from_millis(99))
        .janitor_interval(Duration::from_millis(20))
}

/// One message in each state that does not pass, and some that are finished.
async fn all_kinds(world: &World, messenger: &Messenger) {
    world.listener.will(100, [Action::Fail]);
    world.handle(messenger, 100).await.expect("ok");
    world.oracle.say(101, [Reply::Unknown]);
    world.vanish(messenger, 101).await;
    for id in 0..20 {
        world.pay(messenger, id).await.expect("ok");
        world.handle(messenger, 30 + id).await.expect("ok");
        let body = async {
            let _tx = begin(&world.shop).await?;
            Err(ShopError::Declined)
        };
        messenger.scope(async { fenced::<()>(&order(60 + id), body).await }).await.expect_err("declined");
    }
    world.count(messenger, MessageState::Dead, 1).await;
    world.count(messenger, MessageState::Parked, 1).await;
    world.settled(messenger).await;
}

#[tokio::test]
async fn finished_messages_go_with_their_fence_rows_and_the_others_stay() {
    let world = World::new().await;
    let settings = fast().delivery_attempts(2).check_back_attempts(2);
    let messenger = world.messenger_with(settings).await;
    all_kinds(&world, &messenger).await;
    assert_eq!(messenger.stats().await.expect("counts").delivered, 40);
    assert_eq!((world.fences(1).await, world.fences(2).await), (20, 20));
    assert!(messenger.shutdown(Duration::from_secs(30)).await);

    let janitor = world.messenger_with(tidy()).await;
    world.count(&janitor, MessageState::Delivered, 0).await;
    world.count(&janitor, MessageState::Cancelled, 0).await;
    wait_until("the fence rows to go", async || world.fences(1).await + world.fences(2).await == 0).await;
    let stats = janitor.stats().await.expect("counts");
    assert_eq!((stats.dead, stats.parked), (1, 1), "they wait for an operator");
    assert_eq!(world.orders().await, (0..20).collect::<Vec<_>>(), "business rows are none of its business");
    // New calls go on, and go, too.
    world.pay(&janitor, 200).await.expect("ok");
    wait_until("the delivery", async || world.listener.heard_of(200).len() == 1).await;
    world.count(&janitor, MessageState::Delivered, 0).await;
}

#[tokio::test]
async fn what_a_person_decided_goes_too() {
    let world = World::new().await;
    let messenger = world.messenger_with(tidy()).await;
    let forgets = async { Ok(()) };
    messenger.scope(async { fenced(&order(1), forgets).await }).await.expect("ok");
    world.count(&messenger, MessageState::Parked, 1).await;
    let parked = messenger.admin().list(MessageState::Parked, None, 1).await.expect("lists").remove(0);
    messenger.admin().confirm(parked.id, "looked it up").await.expect("confirms");
    wait_until("the message to be delivered, and to go", async || {
        answered(messenger.admin().find(parked.id).await).is_some_and(|found| found.is_none())
    })
    .await;
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_confirmed_message_outlives_the_retention_and_so_does_its_fence_row() {
    let world = World::new().await;
    let lonely = World::start(world.builder().settings(tidy())).await;
    world.pay(&lonely, 1).await.expect("ok");
    world.count(&lonely, MessageState::Confirmed, 1).await;
    // One that is finished later, and goes.
    let body = async { Err(ShopError::Declined) };
    lonely.scope(async { fenced::<()>(&order(2), body).await }).await.expect_err("declined");
    wait_until("the cancelled one to go", async || {
        counted(&lonely).await.is_some_and(|stats| stats.cancelled == 0 && stats.half == 0)
            && world.fences(2).await == 0
    })
    .await;
    assert_eq!((lonely.stats().await.expect("counts").confirmed, world.fences(1).await), (1, 1));
    let messenger = world.messenger().await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_fence_row_whose_message_the_store_does_not_know_is_kept() {
    let world = World::new().await;
    let messenger = world.messenger_with(tidy()).await;
    let unknown = Db::id(Uuid::new_v7(Timestamp::from_unix(NoContext, 0, 0)));
    let insert = format!("INSERT INTO tm_fence (call_id, outcome) VALUES ({unknown}, 1)");
    run(&world.shop, insert).await.expect("inserts");
    world.pay(&messenger, 1).await.expect("ok");
    wait_until("the known one to go", async || {
        counted(&messenger).await.is_some_and(|stats| stats.delivered == 0)
            && world.listener.orders() == [1]
            && world.fences(1).await == 1
    })
    .await;
    assert_eq!(
        number(&world.shop, format!("SELECT count(*) FROM tm_fence WHERE call_id = {unknown}")).await,
        1
    );
}

#[tokio::test]
async fn a_half_that_is_older_than_the_horizon_is_parked_and_never_asked_about() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (builder, shop) = (elsewhere.builder(), elsewhere.shop);
    let (reached, mut wait) = tokio::sync::mpsc::channel(2);
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let call = async |id: u64| {
            let body = async {
                if id == 1 {
                    begin(&shop).await?.commit().await?;
                }
                reached.send(()).await.expect("waits");
                std::future::pending().await
            };
            let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(id), body).await }).await;
        };
        tokio::join!(call(1), call(2));
    });
    for _ in 0..2 {
        wait.recv().await.expect("gets there");
    }
    process.kill().await;
    let messenger = world.messenger_with(tidy().janitor_interval(Duration::from_hours(1))).await;
    world.count(&messenger, MessageState::Parked, 2).await;
    for message in messenger.admin().list(MessageState::Parked, None, 2).await.expect("lists") {
        assert_eq!(message.reason.as_deref(), Some("older than the setting `check_back_horizon`"));
    }
    assert_eq!((world.fences(1).await, world.fences(2).await), (1, 0), "no tombstone was written");
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn an_inbox_forgets_after_its_own_time() {
    let world = World::new().await;
    let inbox = async || number(&world.books, "SELECT count(*) FROM tm_inbox").await;
    let messenger = world.messenger().await;
    for id in 0..10 {
        world.handle(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(inbox().await, 10);
    assert!(messenger.shutdown(Duration::from_secs(30)).await);
    let forgetful = world.consumer().inbox_retention(Duration::from_millis(1));
    let messenger = World::start(world.builder().settings(tidy()).consumer(forgetful)).await;
    wait_until("the inbox to forget", async || inbox().await == 0).await;
    assert_eq!(world.effects_of_orders().await, (0..10).collect::<Vec<_>>());
    assert!(messenger.shutdown(Duration::from_secs(30)).await);
}
