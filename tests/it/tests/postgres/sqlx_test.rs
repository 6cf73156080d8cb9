//! A recorder in the database that `sqlx::test` makes for a test.

use it::{Dialect, ScriptedHandler, ShopError, fenced, order, run};
use serde_json::json;
use sqlx::{PgPool, Postgres};
use transactional_message::begin;
use transactional_message::testing::Recorder;

async fn pay(pool: &PgPool, id: u64) -> Result<(), ShopError> {
    let body = async {
        let mut tx = begin(pool).await?;
        Postgres::run(&mut tx, format!("INSERT INTO orders (id) VALUES ({id})")).await?;
        Ok(tx.commit().await?)
    };
    fenced(&order(id), body).await
}

#[sqlx::test(migrations = false)]
async fn a_recorder_works_in_it(pool: PgPool) -> Result<(), ShopError> {
    run(&pool, Postgres::SHOP).await?;
    for lose in [false, true] {
        let recorder = Recorder::on_with(&pool, |builder| builder.data(ScriptedHandler::default())).await?;
        recorder.lose_reports(lose);
        let id = 1 + u64::from(lose);
        recorder.scope(pay(&pool, id)).await?;
        recorder.scope(pay(&pool, id)).await.expect_err("it is there already");
        recorder.settle().await?;
        recorder.assert_sent(&[("shop", "order.fenced", json!({ "id": id, "note": "" }))]);
    }
    Ok(())
}
