//! A body that is dropped in the middle of a statement: sqlx's MySQL driver does not know then what the connection has
//! still to answer.

use std::time::Duration;

use futures_util::FutureExt;
use it::{ShopError, fenced, order};
use sqlx::AssertSqlSafe;
use tokio::time::timeout;
use transactional_message::begin;

use crate::World;

/// A fast server's answer can be there at once: then nothing is cut.
const TRIES: u64 = 50;
const ANSWER: i64 = 42;

/// Its connection is lent, so that nothing was changed about the session.
#[tokio::test]
async fn its_connection_gives_nobody_another_statements_answer() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let mut cut = 0;
    for id in 0..TRIES {
        let body = async {
            let mut connection = world.shop.acquire().await?;
            let mut tx = begin(&mut connection).await?;
            // Another one each time, so that it has to be prepared.
            let text = AssertSqlSafe(format!("SELECT id + {id} FROM orders WHERE id = ? OR id = ?"));
            let unprepared = sqlx::query(text).bind(1).bind(2).fetch_all(&mut *tx);
            cut += u64::from(unprepared.now_or_never().is_none());
            Err::<(), _>(ShopError::Declined)
        };
        messenger.scope(async { fenced(&order(id), body).await }).await.expect_err("declined");
        for _ in 0..3 {
            let ask = sqlx::query_scalar::<_, i64>("SELECT ?").bind(ANSWER).fetch_one(&world.shop);
            let answer = timeout(Duration::from_secs(20), ask).await.expect("in time").expect("an answer");
            assert_eq!(answer, ANSWER, "after {cut} cut statements");
        }
    }
    assert!(cut > TRIES / 10, "only {cut} of {TRIES} statements were cut");
    world.settled(&messenger).await;
}
