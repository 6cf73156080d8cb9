//! Sessions that commit nothing by themselves: while a transaction of ours is open, so that what follows a rollback by
//! the database is not committed; and for good, where the user has them so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use it::AnsweredBy;
use it::{
    Connection, Dialect, Fragile, MySqlDatabases, Place, ShopError, fast, fenced, number, numbers, order,
    run, wait_until,
};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{MySql, MySqlConnection, MySqlPool};
use transactional_message::{
    Consume, Consumer, Error, ErrorKind, Isolation, MessageState, Messenger, RawPayload, Received, begin,
};

use crate::World;
use crate::scenarios::dropped_caller::polled;

/// Two rows to be locked, and a transaction of somebody else that has locked the second, and has written so much that
/// InnoDB rolls back the other one.
async fn with_rival(pool: &MySqlPool) -> sqlx::Result<sqlx::Transaction<'static, MySql>> {
    run(pool, "CREATE TABLE IF NOT EXISTS crossing (id BIGINT PRIMARY KEY, n BIGINT) ENGINE = InnoDB")
        .await?;
    run(pool, "INSERT IGNORE INTO crossing (id, n) VALUES (1, 0), (2, 0)").await?;
    let mut rival = pool.begin().await?;
    let heavy: Vec<_> = (100..200).map(|id| format!("({id}, 0)")).collect();
    MySql::run(&mut rival, format!("INSERT INTO crossing (id, n) VALUES {}", heavy.join(", "))).await?;
    MySql::run(&mut rival, "UPDATE crossing SET n = n + 1 WHERE id = 2").await?;
    Ok(rival)
}

/// Makes InnoDB roll the open transaction back, and says nothing about it.
async fn deadlocked(connection: &mut Connection<MySql>, others: &MySqlPool) -> sqlx::Result<()> {
    let mut rival = with_rival(others).await?;
    MySql::run(connection, "UPDATE crossing SET n = n + 1 WHERE id = 1").await?;
    let crossing = tokio::spawn(async move {
        MySql::run(&mut rival, "UPDATE crossing SET n = n + 1 WHERE id = 1").await?;
        rival.rollback().await
    });
    let error = MySql::run(connection, "UPDATE crossing SET n = n + 1 WHERE id = 2").await;
    let error = error.expect_err("it is the victim").to_string();
    assert!(error.contains("Deadlock"), "{error}");
    crossing.await.expect("goes on")
}

async fn of_call(
    messenger: &Messenger,
    id: u64,
    body: impl Future<Output = Result<(), ShopError>> + Send,
) -> Error {
    let ended = messenger.scope(async { fenced(&order(id), body).await }).await;
    ended.map_err(ShopError::message).expect_err("it can't be proven")
}

#[tokio::test]
async fn a_body_that_swallows_a_deadlock_and_writes_on_has_done_nothing() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let others = world.place.pool("shop", 2);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        deadlocked(&mut tx, &others).await?;
        World::write(&mut tx, 2).await?;
        World::write(&mut tx, 3).await?;
        Ok(tx.commit().await?)
    };
    let error = of_call(&messenger, 1, body).await;
    assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(world.orders().await, [] as [u64; 0]);
    world.shop_is_clean().await;
    world.pay(&messenger, 4).await.expect("the next call");
    world.settled(&messenger).await;
    assert_eq!((world.orders().await, world.effects_of_orders().await), (vec![4], vec![4]));
}

/// The same with a body that fails afterwards, without an end to its transaction.
#[tokio::test]
async fn nor_has_one_that_leaves_its_transaction_to_itself() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let others = world.place.pool("shop", 2);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        deadlocked(&mut tx, &others).await?;
        World::write(&mut tx, 2).await?;
        Err(ShopError::Declined)
    };
    let ended: Result<(), _> = messenger.scope(async { fenced(&order(1), body).await }).await;
    ended.expect_err("declined");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(world.orders().await, [] as [u64; 0]);
    world.shop_is_clean().await;
}

/// Where the server says so, a lock time-out ends the whole transaction, too.
#[tokio::test]
async fn nor_has_one_that_swallows_a_lock_time_out_which_rolls_back() {
    let server = services::mariadb::start_with(&["--innodb-rollback-on-timeout=ON"]).await.expect("a server");
    let world = World::at(MySqlDatabases::on(server.url()), 1).await;
    let messenger = world.messenger().await;
    let impatient = world.place.impatient("shop");
    run(&world.shop, "INSERT INTO orders (id) VALUES (1001)").await.expect("inserts");
    let mut other = impatient.begin().await.expect("begins");
    MySql::run(&mut other, "UPDATE orders SET message_id = NULL WHERE id = 1001").await.expect("locks");
    let body = async {
        let mut tx = begin(&impatient).await?;
        World::write(&mut tx, 1).await?;
        let error = MySql::run(&mut tx, "UPDATE orders SET message_id = NULL WHERE id = 1001").await;
        assert!(error.expect_err("locked").to_string().contains("Lock wait timeout"));
        World::write(&mut tx, 2).await?;
        Ok(tx.commit().await?)
    };
    let error = of_call(&messenger, 1, body).await;
    assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
    other.rollback().await.expect("rolls back");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(world.orders_of_calls().await, [] as [u64; 0]);
}

/// A handler that swallows a deadlock at its first attempt.
#[derive(Clone)]
struct Careless {
    others: MySqlPool,
    was_deadlocked: Arc<AtomicBool>,
}

impl<'c> Consume<'c, MySqlConnection, RawPayload> for Careless {
    type Error = sqlx::Error;
    type Future = BoxFuture<'c, Result<(), sqlx::Error>>;

    fn consume(&self, connection: &'c mut MySqlConnection, message: Received<RawPayload>) -> Self::Future {
        let Self { others, was_deadlocked } = self.clone();
        Box::pin(async move {
            if !was_deadlocked.swap(true, Ordering::SeqCst) {
                deadlocked(connection, &others).await?;
            }
            MySql::effect(connection, "books", message.id, "{}").await
        })
    }
}

#[tokio::test]
async fn a_handler_that_swallows_a_deadlock_and_writes_on_has_one_effect() {
    let world = World::new().await;
    let careless = Careless { others: world.place.pool("books", 2), was_deadlocked: Arc::default() };
    let consumer = Consumer::new("books", world.books.clone(), careless.clone()).bind("shop", "#");
    let messenger = World::start(world.builder().consumer(consumer)).await;
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert!(careless.was_deadlocked.load(Ordering::SeqCst));
    assert_eq!(world.all_effects().await, 1);
}

/// A transaction of a call that has no message; those with one are dropped in `scenarios`.
#[tokio::test]
async fn a_transaction_that_is_dropped_at_any_poll_leaves_a_clean_pool() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let mut longest = 0;
    // What a poll has begun takes different times, so one round is not like another.
    for round in 0..10 {
        for times in 1.. {
            let id = round * 100 + u64::from(times);
            let body = async {
                let mut tx = begin(&world.shop).await?;
                MySql::run(&mut tx, format!("INSERT INTO orders (id) VALUES ({id})")).await?;
                Ok::<_, ShopError>(tx.commit().await?)
            };
            let ended = polled(times, messenger.call(it::call(AnsweredBy::Fence, []), body)).await;
            world.shop_is_clean().await;
            longest = longest.max(times);
            if let Some(ended) = ended {
                ended.expect("committed");
                assert!(world.orders().await.contains(&id), "{id}");
                break;
            }
        }
    }
    assert!(longest > 2, "{longest} polls are too few to have seen anything");
}

/// A pool of one connection, whose sessions are told something first.
fn pool_with(place: &MySqlDatabases, name: &str, autocommit: i64) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(1)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                MySql::run(connection, format!("SET autocommit = {autocommit}")).await.map(drop)
            })
        })
        .connect_lazy_with(place.url(name).parse().expect("a URL"))
}

/// The session's own value, and that it is the same session.
async fn session(pool: &MySqlPool) -> (i64, i64) {
    let sessions = numbers(pool, "SELECT CAST(CONNECTION_ID() AS SIGNED)").await;
    let values = numbers(pool, "SELECT CAST(@@autocommit AS SIGNED)").await;
    (sessions[0], values[0])
}

#[tokio::test]
async fn a_session_gets_its_own_value_back() {
    let world = World::new().await;
    for autocommit in [0, 1] {
        let shop = pool_with(&world.place, "shop", autocommit);
        let world = World { shop: shop.clone(), ..world.elsewhere() };
        let messenger = world.messenger().await;
        let before = session(&shop).await;
        assert_eq!(before.1, autocommit);
        world.pay(&messenger, 1).await.expect("ok");
        assert_eq!(session(&shop).await, before, "after a commit");
        let body = async {
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 2).await?;
            tx.rollback().await?;
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 3).await?;
            tx.amend(&order(3))?;
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(3), body).await }).await.expect("ok");
        assert_eq!(session(&shop).await, before, "after a rollback, and a commit that amends");
        messenger
            .call(it::call(AnsweredBy::Fence, []), async {
                Ok::<_, ShopError>(begin(&shop).await?.commit().await?)
            })
            .await
            .expect("ok");
        assert_eq!(session(&shop).await, before, "after a call without a message");
        let body = async {
            let mut tx = begin(&shop).await?;
            MySql::run(&mut tx, "ROLLBACK").await?;
            Ok(tx.commit().await?)
        };
        of_call(&messenger, 4, body).await;
        assert_eq!(session(&shop).await, before, "after a commit that was refused");
        world.settled(&messenger).await;
        let others = world.place.pool("shop", 1);
        assert_eq!(numbers(&others, "SELECT id FROM orders ORDER BY id").await, [1, 3]);
        run(&others, "DELETE FROM orders").await.expect("deletes");
    }
}

#[tokio::test]
async fn a_begin_that_cannot_look_for_the_identity_leaves_its_owners_connection_clean() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let others = world.place.pool("shop", 1);
    run(&others, "RENAME TABLE tm_fence_database TO hidden").await.expect("hides it");
    let body = async {
        let mut connection = world.shop.acquire().await.expect("acquires");
        Ok::<_, ShopError>(begin(&mut connection).await.map(drop)?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect_err("there is no identity");
    run(&others, "RENAME TABLE hidden TO tm_fence_database").await.expect("brings it back");
    world.shop_is_clean().await;
}

/// A read in a session that commits nothing leaves a transaction open, which goes on seeing what it saw then.
#[tokio::test]
async fn a_transaction_that_a_read_has_left_open_is_not_joined() {
    let world = World::new().await;
    let shop = pool_with(&world.place, "shop", 0);
    let world = World { shop: shop.clone(), ..world.elsewhere() };
    let messenger = world.messenger().await;
    let isolated = async {
        let mut tx = begin(&shop).isolation(Isolation::RepeatableRead).await?;
        World::write(&mut tx, 1).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), isolated).await }).await.expect("in a new session");
    assert_eq!(number(&shop, "SELECT count(*) FROM orders").await, 1);
    let others = world.place.pool("shop", 1);
    run(&others, "INSERT INTO orders (id) VALUES (7)").await.expect("inserts");
    let body = async {
        let mut tx = begin(&shop).await?;
        let seen = MySql::texts(&mut tx, "SELECT CAST(count(*) AS CHAR) FROM orders").await?;
        World::write(&mut tx, 2).await?;
        tx.commit().await?;
        Ok::<_, ShopError>(seen)
    };
    let seen = messenger.scope(async { fenced(&order(2), body).await }).await.expect("ok");
    assert_eq!(seen, ["2"]);
    world.settled(&messenger).await;
    assert_eq!(numbers(&others, "SELECT id FROM orders ORDER BY id").await, [1, 2, 7]);
}

#[tokio::test]
async fn an_inbox_works_where_sessions_commit_nothing_by_themselves() {
    let world = World::new().await;
    let books = pool_with(&world.place, "books", 0);
    let consumer = MySql::consumer("books", books.clone(), world.listener.clone()).bind("shop", "#");
    let settings = fast().janitor_interval(Duration::from_millis(20));
    let builder =
        world.builder().settings(settings).consumer(consumer.inbox_retention(Duration::from_secs(2)));
    let messenger = builder.build().await.expect("builds");
    messenger.migrate().await.expect("migrates");
    let version = "SELECT version FROM tm_schema WHERE part = 'inbox'";
    assert!(number(&world.books, version).await > 0, "the migration is committed");
    messenger.start().await.expect("starts");
    run(&world.books, "INSERT INTO unique_effects (id) VALUES (7)").await.expect("inserts");
    let seen = numbers(&books, "SELECT id FROM unique_effects").await;
    assert_eq!(seen, [7], "the pool's sessions were left with an old view of the database");
    run(&books, "COMMIT").await.expect("the test's own transaction");
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.effects_of_orders().await, [1]);
    let remembered = async || number(&world.books, "SELECT count(*) FROM tm_inbox").await;
    wait_until("the record to be pruned, as others see it", async || remembered().await == 0).await;
    assert_eq!(session(&books).await.1, 0);
}
