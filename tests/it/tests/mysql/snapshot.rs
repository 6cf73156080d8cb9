//! Rows that others have changed since a transaction began: MariaDB 11 answers with an error (1020), and rolls the
//! whole transaction back. MariaDB 10.11 does so when it is told to, MySQL never.

use it::{Dialect, MySqlDatabases, Place, ShopError, fenced, numbers, order, run, texts};
use sqlx::MySql;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use transactional_message::{ErrorKind, Isolation, MessageState, begin, call_id};

use crate::World;

/// Whose sessions are strict where the server can be.
fn strict(world: &World) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(2)
        .after_connect(|connection, _| {
            let sql = "SET SESSION /*M!101108 innodb_snapshot_isolation = ON, */ time_zone = '+00:00'";
            Box::pin(async move { MySql::run(connection, sql).await.map(drop) })
        })
        .connect_lazy_with(world.place.url("shop").parse().expect("a URL"))
}

#[tokio::test]
async fn a_body_that_swallows_the_error_and_writes_on_has_done_nothing() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    run(&world.shop, "CREATE TABLE stock (id BIGINT PRIMARY KEY, n BIGINT) ENGINE = InnoDB")
        .await
        .expect("creates");
    run(&world.shop, "INSERT INTO stock (id, n) VALUES (1, 5)").await.expect("inserts");
    let shop = strict(&world);
    let body = async {
        let mut tx = begin(&shop).isolation(Isolation::RepeatableRead).await?;
        assert_eq!(MySql::numbers(&mut tx, "SELECT n FROM stock").await?, [5]);
        run(&world.shop, "UPDATE stock SET n = n - 1 WHERE id = 1").await?;
        let conflict = MySql::run(&mut tx, "UPDATE stock SET n = n - 1 WHERE id = 1").await.err();
        World::write(&mut tx, 1).await?;
        match (tx.commit().await, conflict) {
            (Err(error), Some(conflict)) => {
                assert!(conflict.to_string().contains("Record has changed"), "{conflict}");
                assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
                Ok(false)
            }
            (committed, None) => Ok::<_, ShopError>(committed.map(|()| true)?),
            (Ok(()), Some(conflict)) => panic!("committed after {conflict}"),
        }
    };
    let committed = messenger.scope(async { fenced(&order(1), body).await }).await.expect("ends");
    let versions = texts(&world.shop, "SELECT VERSION()").await;
    assert_eq!(committed, !versions[0].contains("MariaDB"), "{versions:?}");
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, if committed { vec![1] } else { vec![] });
    assert_eq!(world.effects_of_orders().await, world.orders().await);
    assert_eq!(numbers(&world.shop, "SELECT n FROM stock").await, [if committed { 3 } else { 4 }]);
    world.shop_is_clean().await;
}

/// The body's transaction waits for the tombstone, which is newer than what it sees.
#[tokio::test]
async fn a_call_that_was_cancelled_meanwhile_is_fenced() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let shop = strict(&world);
    let (begins, wait) = tokio::sync::oneshot::channel();
    let (there, tombstone) = tokio::sync::oneshot::channel();
    let body = async {
        begins.send(call_id()).expect("waited for");
        tombstone.await.expect("is there");
        let begun = begin(&shop).isolation(Isolation::Serializable).await;
        let error = begun.map(drop).expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        Err::<(), _>(ShopError::from(error))
    };
    let check = async {
        let id = MySql::id(wait.await.expect("begins"));
        let mut checker = world.shop.begin().await.expect("begins");
        let insert = format!("INSERT INTO tm_fence (call_id, outcome) VALUES ({id}, 2)");
        MySql::run(&mut checker, insert).await.expect("inserts");
        there.send(()).expect("waited for");
        // INNODB_TRX would show the wait itself, but whoever reads it every few milliseconds is shown the first answer.
        let waiting = format!(
            "SELECT count(*) FROM {} WHERE db = DATABASE() AND info LIKE 'INSERT%tm\\_fence%'",
            MySqlDatabases::SESSIONS
        );
        it::wait_until("the body to wait", async || numbers(&world.shop, &waiting).await == [1]).await;
        checker.commit().await.expect("commits");
    };
    let order = order(1);
    let call = messenger.scope(async { fenced(&order, body).await });
    let (ended, ()) = tokio::join!(call, check);
    ended.expect_err("fenced");
    world.count(&messenger, MessageState::Cancelled, 1).await;
}
