//! A commit that the database refuses. Not on MySQL, which checks everything at once.

use it::{fenced, order, run};
use sqlx::Executor;
use transactional_message::{ErrorKind, begin};

use crate::World;
use crate::scenarios::fence_commit::{committed_after, the_truth};

/// A table whose references are checked by the commit: a dangling one makes it fail.
async fn with_lines(world: &World) {
    let sql = "CREATE TABLE lines (order_id BIGINT REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)";
    run(&world.shop, sql).await.expect("creates");
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_is_an_error_and_sends_nothing() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    with_lines(&world).await;
    let error = committed_after(&world, &messenger, 1, &["INSERT INTO lines VALUES (77)"]).await;
    let error = error.expect_err("a dangling reference");
    assert_eq!(error.kind(), ErrorKind::RolledBack, "{error}");
    assert!(error.to_string().to_lowercase().contains("foreign key"), "{error}");
    the_truth(&world, &messenger, &[]).await;
    committed_after(&world, &messenger, 2, &[]).await.expect("the connection is clean");
    the_truth(&world, &messenger, &[2]).await;
}

#[tokio::test]
async fn after_a_refused_commit_the_body_may_begin_again() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    with_lines(&world).await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.execute("INSERT INTO lines VALUES (77)").await?;
        tx.commit().await.expect_err("a dangling reference");
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("the second time");
    the_truth(&world, &messenger, &[1]).await;
}
