//! sqlx, in a transaction that is handed in.

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use transactional_message::{enter, transactional_message};

use crate::moment::Moment;
use crate::{BoxError, Paid};

#[transactional_message(exchange = "orders", routing_key = "order.paid", fence, message = Paid { order })]
async fn pay(tx: &mut Transaction<'_, Postgres>, order: i64, moment: Moment) -> Result<(), BoxError> {
    let entered = enter(&mut *tx).await?;
    moment.is(Moment::Entered);
    moment.declines()?;
    sqlx::query("INSERT INTO paid (id) VALUES ($1)").bind(order).execute(&mut **tx).await?;
    moment.is(Moment::Worked);
    entered.done(tx).await?;
    moment.is(Moment::Done);
    Ok(())
}

pub async fn pay_and_commit(url: &str, order: i64, moment: Moment) -> Result<(), BoxError> {
    let mut connection = PgConnection::connect(url).await?;
    let mut tx = connection.begin().await?;
    let paid = pay(&mut tx, order, moment).await;
    assert_eq!(paid.is_err(), moment == Moment::Declined, "{paid:?}");
    moment.is(Moment::Returned);
    tx.commit().await?;
    moment.is(Moment::Committed);
    Ok(())
}
