//! What PRODUCTION advises for a pool on which sqlx's own `begin` may be cancelled.

use futures_util::FutureExt;
use sqlx::Connection;
use sqlx::postgres::PgPoolOptions;

use crate::World;

/// Begins that are cut off. A fast server's answer can be there at once: then another one is tried, up to `MOST`.
const CUT: i64 = 10;
const MOST: i64 = 5_000;

#[tokio::test]
async fn a_begin_that_was_cut_off_leaves_nobody_an_open_transaction() {
    let world = World::new().await;
    let hooked = PgPoolOptions::new().max_connections(1).after_release(|connection, _| {
        Box::pin(async move {
            sqlx::raw_sql("SET client_min_messages = error; ROLLBACK; RESET client_min_messages")
                .execute(connection)
                .await?;
            Ok(true)
        })
    });
    let pool = hooked.connect_lazy_with(world.shop.connect_options().as_ref().clone());
    let mut cut = 0;
    for id in 0..MOST {
        if cut >= CUT {
            break;
        }
        let mut connection = pool.acquire().await.expect("is free");
        cut += i64::from(connection.begin().now_or_never().is_none());
        drop(connection);
        let insert = sqlx::query("INSERT INTO orders (id) VALUES ($1)").bind(id);
        insert.execute(&pool).await.expect("inserts");
        let seen = it::number(&world.shop, "SELECT count(*) FROM orders").await;
        assert_eq!(seen, id + 1, "after {cut} cut begins, an insert was not committed");
    }
    assert!(cut >= CUT, "only {cut} of {MOST} begins were cut");
}
