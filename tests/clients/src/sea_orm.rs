//! SeaORM.

use sea_orm::{ConnectionTrait, Database, DatabaseTransaction, Statement, TransactionTrait};
use transactional_message::{enter_sql, transactional_message};

use crate::moment::Moment;
use crate::{BoxError, Paid};

#[transactional_message(exchange = "orders", routing_key = "order.paid", fence, message = Paid { order })]
async fn pay(tx: &DatabaseTransaction, order: i64, moment: Moment) -> Result<(), BoxError> {
    let fence = enter_sql()?;
    tx.execute_unprepared(fence.enter()).await?;
    moment.is(Moment::Entered);
    moment.declines()?;
    let insert = "INSERT INTO paid (id) VALUES ($1)";
    tx.execute_raw(Statement::from_sql_and_values(tx.get_database_backend(), insert, [order.into()])).await?;
    moment.is(Moment::Worked);
    tx.execute_unprepared(&fence.done()).await?;
    moment.is(Moment::Done);
    Ok(())
}

pub async fn pay_and_commit(url: &str, order: i64, moment: Moment) -> Result<(), BoxError> {
    let db = Database::connect(url).await?;
    let tx = db.begin().await?;
    let paid = pay(&tx, order, moment).await;
    assert_eq!(paid.is_err(), moment == Moment::Declined, "{paid:?}");
    moment.is(Moment::Returned);
    tx.commit().await?;
    moment.is(Moment::Committed);
    Ok(())
}
