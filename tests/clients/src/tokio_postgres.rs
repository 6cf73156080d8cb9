//! tokio-postgres.

use tokio_postgres::{NoTls, Transaction};
use transactional_message::{enter_sql, transactional_message};

use crate::moment::Moment;
use crate::{BoxError, Paid};

#[transactional_message(exchange = "orders", routing_key = "order.paid", fence, message = Paid { order })]
async fn pay(tx: &Transaction<'_>, order: i64, moment: Moment) -> Result<(), BoxError> {
    let fence = enter_sql()?;
    tx.batch_execute(fence.enter()).await?;
    moment.is(Moment::Entered);
    moment.declines()?;
    tx.execute("INSERT INTO paid (id) VALUES ($1)", &[&order]).await?;
    moment.is(Moment::Worked);
    tx.batch_execute(&fence.done()).await?;
    moment.is(Moment::Done);
    Ok(())
}

pub async fn pay_and_commit(url: &str, order: i64, moment: Moment) -> Result<(), BoxError> {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let tx = client.transaction().await?;
    let paid = pay(&tx, order, moment).await;
    assert_eq!(paid.is_err(), moment == Moment::Declined, "{paid:?}");
    moment.is(Moment::Returned);
    tx.commit().await?;
    moment.is(Moment::Committed);
    Ok(())
}
