//! The database's clock and the processes' differ, and the database's jumps. Leases are compared by
//! the database's alone; a jump makes no live body look dead.
//!
//! A schema can have a `clock_timestamp` of its own, which is found first if the search path says so.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Place as _, Process, Reply, ShopError, counted, fast, fenced, number, order, run, wait_until};
use transactional_message::{MessageState, Messenger, MessengerBuilder, Settings, begin};

use crate::World;

const BODIES: u64 = 10;

/// A world whose message store has a clock of its own.
async fn with_clock(skew: &str) -> World {
    let world = World::new().await;
    let clock = "CREATE TABLE skew (skew interval);
        CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT pg_catalog.clock_timestamp() + (SELECT skew FROM skew)';";
    run(&world.store(), clock).await.expect("makes a clock");
    run(&world.store(), format!("INSERT INTO skew VALUES ('{skew}')")).await.expect("sets it");
    world
}

async fn set_clock(world: &World, skew: &str) {
    run(&world.store(), format!("UPDATE skew SET skew = '{skew}'")).await.expect("sets the clock");
}

/// A messenger whose store goes by that clock.
fn builder(world: &World, settings: &Settings) -> MessengerBuilder {
    let schema = world.place.schema("store");
    let url = world.place.url("store").replace(&schema, &format!("{schema},pg_catalog"));
    Messenger::builder(url).settings(*settings).data(world.oracle.clone()).fence("orders", &world.shop)
}

async fn messengers(world: &World) -> (Messenger, Messenger) {
    let impatient = fast().poll_interval(Duration::from_millis(2));
    let start = async |settings| World::start(builder(world, &settings).consumer(world.consumer())).await;
    (start(fast()).await, start(impatient).await)
}

/// A fenced body that waits for `end`, and begins its transaction then.
async fn body(world: &World, own: &Messenger, id: u64, end: tokio::sync::watch::Receiver<bool>) {
    let mut end = end;
    let body = async {
        end.wait_for(|end| *end).await.expect("ends");
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, id).await?;
        Ok(tx.commit().await?)
    };
    let ended = own.scope(async { fenced(&order(id), body).await }).await;
    assert!(ended.is_ok(), "the live body of {id} was given up: {ended:?}");
}

/// A half whose process is dead.
async fn orphan(world: &World, id: u64) {
    let elsewhere = world.elsewhere();
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder(&elsewhere, &fast())).await;
        let body = async {
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(id), body).await }).await;
    });
    wait.await.expect("gets there");
    process.kill().await;
}

async fn a_clock_that_is_off(skew: &str) {
    let world = with_clock(skew).await;
    let (own, other) = messengers(&world).await;
    let (over, wait) = tokio::sync::watch::channel(false);
    let recovery = async {
        orphan(&world, 100).await;
        world.count(&other, MessageState::Cancelled, 1).await;
        world.oracle.say(200, [Reply::Confirm]);
        world.vanish(&own, 200).await;
        world.count(&other, MessageState::Delivered, 1).await;
        let age = world.oracle.asked(200)[0].age;
        assert!(age >= fast().check_after && age < Duration::from_mins(1), "{age:?} by one clock");
        over.send(true).expect("waited for");
    };
    tokio::join!(join_all((0..BODIES).map(|id| body(&world, &own, id, wait.clone()))), recovery);
    world.settled(&other).await;
    assert_eq!(world.fences(2).await, 1, "a tombstone for the orphan alone");
    assert_eq!(world.effects_of_orders().await, (0..BODIES).chain([200]).collect::<Vec<_>>());
    // The rows go by that clock indeed.
    let off =
        "SELECT count(*) FROM tm_message WHERE abs(created_at / 1000 - extract(epoch FROM now())) > 3000";
    assert_eq!(number(&world.store(), off).await.unsigned_abs(), BODIES + 2);
}

#[tokio::test]
async fn a_database_that_is_an_hour_ahead() {
    a_clock_that_is_off("1 hour").await;
}

#[tokio::test]
async fn a_database_that_is_an_hour_behind() {
    a_clock_that_is_off("-1 hour").await;
}

/// More than there are in two leases.
const RENEWALS: u32 = 10;

/// When the first lease lapses, unless it is renewed.
async fn due(world: &World) -> i64 {
    number(&world.store(), "SELECT min(due_at) FROM tm_message WHERE state = 0").await
}

#[tokio::test]
async fn a_clock_that_jumps_makes_no_live_body_look_dead() {
    let world = with_clock("0").await;
    let (own, other) = messengers(&world).await;
    let (over, wait) = tokio::sync::watch::channel(false);
    let jumps = async {
        wait_until("the halves", async || counted(&own).await.is_some_and(|stats| stats.half == BODIES))
            .await;
        for skew in ["1 hour", "2 hours", "0", "-1 hour"] {
            set_clock(&world, skew).await;
            // In which a row that looked dead would be taken, asked about, and fenced.
            for _ in 0..RENEWALS {
                let before = due(&world).await;
                wait_until("a renewal", async || due(&world).await != before).await;
            }
        }
        over.send(true).expect("waited for");
    };
    tokio::join!(join_all((0..BODIES).map(|id| body(&world, &own, id, wait.clone()))), jumps);
    // And who is dead is found as before.
    orphan(&world, 100).await;
    world.count(&other, MessageState::Cancelled, 1).await;
    world.settled(&other).await;
    assert_eq!(world.fences(2).await, 1, "a tombstone for the orphan alone");
    assert_eq!(world.effects_of_orders().await, (0..BODIES).collect::<Vec<_>>());
}
