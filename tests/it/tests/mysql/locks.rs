//! Deadlocks, which end the whole transaction, and lock time-outs, which end a statement.

use std::time::Duration;

use it::{
    Action, Dialect, Place, ShopError, counted, fast, fenced, fenced_amendable, number, order, run,
    wait_until,
};
use sqlx::MySql;
use tokio::sync::Barrier;
use transactional_message::{ErrorKind, FencedTransaction, MessageState, Messenger, begin};

use crate::World;

/// Two rows to be locked.
async fn with_two_rows(world: &World) {
    run(&world.shop, "INSERT INTO orders (id) VALUES (1001), (1002)").await.expect("inserts");
}

async fn lock(tx: &mut FencedTransaction<'_, MySql>, row: u64) -> Result<u64, sqlx::Error> {
    MySql::run(tx, format!("UPDATE orders SET message_id = NULL WHERE id = {row}")).await
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.to_string().contains("Deadlock")
}

/// Locks both rows, in this order, when the other one has locked its first. After a deadlock it goes
/// on as if nothing had happened, or tries again.
async fn crossing(
    world: &World,
    messenger: &Messenger,
    barrier: &Barrier,
    id: u64,
    rows: [u64; 2],
    swallows: bool,
) -> Result<bool, ShopError> {
    let body = async {
        let mut deadlocked = false;
        loop {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            lock(&mut tx, rows[0]).await?;
            if !deadlocked {
                barrier.wait().await;
            }
            match lock(&mut tx, rows[1]).await {
                Err(error) if is_deadlock(&error) => deadlocked = true,
                locked => {
                    locked?;
                    tx.commit().await?;
                    return Ok(deadlocked);
                }
            }
            if swallows {
                tx.commit().await?;
                return Ok(deadlocked);
            }
            tx.rollback().await?;
        }
    };
    messenger.scope(async { fenced(&order(id), body).await }).await
}

#[tokio::test]
async fn a_deadlock_that_is_swallowed_is_unproven() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    with_two_rows(&world).await;
    let barrier = Barrier::new(2);
    let (one, two) = tokio::join!(
        crossing(&world, &messenger, &barrier, 1, [1001, 1002], true),
        crossing(&world, &messenger, &barrier, 2, [1002, 1001], true)
    );
    let (victim, error) = match (one, two) {
        (Err(error), Ok(false)) => (1, error),
        (Ok(false), Err(error)) => (2, error),
        other => panic!("one of them is the victim: {other:?}"),
    };
    let error = error.message();
    assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
    assert!(error.to_string().contains("ended underneath"), "{error}");
    world.settled(&messenger).await;
    assert_eq!(world.orders_of_calls().await, [3 - victim]);
    assert_eq!(world.effects_of_orders().await, [3 - victim]);
    world.shop_is_clean().await;
}

#[tokio::test]
async fn a_body_that_tries_again_after_a_deadlock_commits() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    with_two_rows(&world).await;
    let barrier = Barrier::new(2);
    let (one, two) = tokio::join!(
        crossing(&world, &messenger, &barrier, 1, [1001, 1002], false),
        crossing(&world, &messenger, &barrier, 2, [1002, 1001], false)
    );
    let deadlocked = [one.expect("committed"), two.expect("committed")];
    assert_eq!(deadlocked.iter().filter(|deadlocked| **deadlocked).count(), 1);
    world.settled(&messenger).await;
    assert_eq!(world.orders_of_calls().await, [1, 2]);
    assert_eq!(world.effects_of_orders().await, [1, 2]);
}

#[tokio::test]
async fn after_a_lock_time_out_the_transaction_goes_on() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    with_two_rows(&world).await;
    let impatient = world.place.impatient("shop");
    let mut other = world.shop.begin().await.expect("begins");
    MySql::run(&mut other, "UPDATE orders SET message_id = NULL WHERE id = 1001").await.expect("locks");
    let body = async {
        let mut tx = begin(&impatient).await?;
        World::write(&mut tx, 1).await?;
        let error = lock(&mut tx, 1001).await.expect_err("locked");
        assert!(error.to_string().contains("Lock wait timeout"), "{error}");
        World::write(&mut tx, 2).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    other.rollback().await.expect("rolls back");
    world.settled(&messenger).await;
    assert_eq!(world.orders_of_calls().await, [1, 2]);
    assert_eq!(world.effects_of_orders().await, [1]);
}

/// In tables of a few rows, which MariaDB and MySQL would rather read, and lock, as a whole.
#[tokio::test]
async fn rows_that_others_have_locked_keep_no_other_row_waiting() {
    let world = World::with_connections(8).await;
    // Renews nothing, so that the rows of its call are locked by nobody but the test.
    let never = Duration::from_hours(1);
    let other = world.messenger_with(fast().lease(never).poll_interval(never)).await;
    let (over, wait) = tokio::sync::watch::channel(false);
    let foreign = async {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, 100).await?;
            wait.clone().wait_for(|over| *over).await.expect("ends");
            Ok(tx.commit().await?)
        };
        other.scope(async { fenced(&order(100), body).await }).await.expect("ok");
    };
    let tidy = Duration::from_millis(20);
    let settings = fast()
        .janitor_interval(tidy)
        .check_back_horizon(Duration::from_secs(2))
        .retention(Duration::from_secs(3));
    let work = async {
        wait_until("the foreign half", async || counted(&other).await.is_some_and(|stats| stats.half == 1))
            .await;
        let id = MySql::id(other.admin().list(MessageState::Half, None, 1).await.expect("lists")[0].id);
        let mut locks = world.store().begin().await.expect("begins");
        let lock = format!("UPDATE tm_message SET check_after = check_after + 1 WHERE id = {id}");
        assert_eq!(MySql::run(&mut locks, lock).await.expect("locks"), 1);
        let own = world.messenger_with(settings).await;
        let (progress, renewed) = tokio::sync::watch::channel(false);
        let call = async |id: u64| {
            let mut renewed = renewed.clone();
            let body = async {
                let mut tx = begin(&world.shop).await?;
                World::write(&mut tx, id).await?;
                tx.amend(&order(id))?;
                renewed.wait_for(|renewed| *renewed).await.expect("goes on");
                Ok(tx.commit().await?)
            };
            own.scope(async { fenced_amendable(&order(id), body).await }).await.expect("ok");
        };
        let conduct = async {
            let held = "SELECT count(*) FROM tm_message WHERE message_key IN ('1', '2') AND due_at - created_at > 3000";
            let store = world.store();
            wait_until("three leases to be renewed", async || number(&store, held).await == 2).await;
            progress.send(true).expect("waited for");
        };
        tokio::join!(call(1), call(2), conduct);
        world.count(&own, MessageState::Delivered, 2).await;
        let left = async || number(&world.store(), "SELECT count(*) FROM tm_message WHERE state <> 0").await;
        wait_until("the janitor to prune them", async || left().await == 0).await;
        assert_eq!(world.fences(1).await, 0, "their fence rows went first");
        locks.rollback().await.expect("rolls back");
        over.send(true).expect("waited for");
    };
    tokio::join!(foreign, work);
    world.settled(&other).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 100]);
}

/// Whoever waits for a record keeps others from being inserted before it: those of a queue whose name comes first. So is it
/// with the note that a message is being handled alone.
#[tokio::test]
async fn pruning_waits_for_no_handler_and_keeps_nobody_waiting() {
    let world = World::new().await;
    let beside = World::another_listener("beside");
    world.listener.will(1, [Action::Never]);
    let builder = world.builder().settings(fast().janitor_interval(Duration::from_millis(20)));
    let builder = builder.consumer(world.consumer()).consumer(world.consumer_named("beside", &beside));
    let messenger = builder.build().await.expect("builds");
    messenger.migrate().await.expect("migrates");
    // Before there is a janitor, who prunes what is not locked yet.
    run(&world.books, "INSERT INTO tm_inbox_entered VALUES ('books', X'01000000000000000000000000000000', 1, 1), ('books', X'02000000000000000000000000000000', 1, 1)")
        .await
        .expect("notes");
    let mut alone = world.books.begin().await.expect("begins");
    let note = "(X'02000000000000000000000000000000')";
    let lock =
        format!("SELECT 1 FROM tm_inbox_entered WHERE queue = 'books' AND message_id IN {note} FOR UPDATE");
    assert_eq!(MySql::numbers(&mut alone, lock).await.expect("locks"), [1]);
    messenger.start().await.expect("starts");
    world.handle(&messenger, 1).await.expect("ok");
    wait_until("it to be handled", async || !world.listener.heard_of(1).is_empty()).await;
    let old = async |table: &str, column: &str| {
        number(&world.books, format!("SELECT count(*) FROM {table} WHERE {column} = 1")).await
    };
    for id in 2..5 {
        run(&world.books, "INSERT INTO tm_inbox VALUES ('books', X'01000000000000000000000000000000', 1)")
            .await
            .expect("inserts");
        wait_until("what is old to be pruned", async || old("tm_inbox", "received_at").await == 0).await;
        world.handle(&messenger, id).await.expect("ok");
        wait_until("it to be handled beside", async || beside.orders().contains(&id)).await;
    }
    wait_until("the other note to be pruned", async || old("tm_inbox_entered", "entered_at").await == 1)
        .await;
    alone.rollback().await.expect("rolls back");
    wait_until("that one, too", async || old("tm_inbox_entered", "entered_at").await == 0).await;
}
