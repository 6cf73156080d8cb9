//! Diesel, with diesel-async.

use diesel::sql_types::BigInt;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    TransactionManager,
};
use transactional_message::{enter_sql, transactional_message};

use crate::moment::Moment;
use crate::{BoxError, Paid};

#[transactional_message(exchange = "orders", routing_key = "order.paid", fence, message = Paid { order })]
async fn pay(connection: &mut AsyncPgConnection, order: i64, moment: Moment) -> Result<(), BoxError> {
    let fence = enter_sql()?;
    connection.batch_execute(fence.enter()).await?;
    moment.is(Moment::Entered);
    moment.declines()?;
    let insert = diesel::sql_query("INSERT INTO paid (id) VALUES ($1)").bind::<BigInt, _>(order);
    insert.execute(connection).await?;
    moment.is(Moment::Worked);
    connection.batch_execute(&fence.done()).await?;
    moment.is(Moment::Done);
    Ok(())
}

pub async fn pay_and_commit(url: &str, order: i64, moment: Moment) -> Result<(), BoxError> {
    let mut connection = AsyncPgConnection::establish(url).await?;
    AnsiTransactionManager::begin_transaction(&mut connection).await?;
    let paid = pay(&mut connection, order, moment).await;
    assert_eq!(paid.is_err(), moment == Moment::Declined, "{paid:?}");
    moment.is(Moment::Returned);
    AnsiTransactionManager::commit_transaction(&mut connection).await?;
    moment.is(Moment::Committed);
    Ok(())
}
