//! The isolation level is the transaction's own, chosen at `begin`.

use it::{Dialect, ShopError, fenced, order, run};
use transactional_message::{Isolation, begin};

use crate::{Db, World};

/// How many orders a transaction sees before and after others wrote one.
async fn seen(world: &World, id: u64, isolation: Isolation) -> (i64, i64) {
    let messenger = world.messenger().await;
    let others = world.elsewhere().shop;
    let body = async {
        let mut tx = begin(&world.shop).isolation(isolation).await?;
        let before = Db::numbers(&mut tx, "SELECT count(*) FROM orders").await?[0];
        run(&others, format!("INSERT INTO orders (id) VALUES ({id})")).await?;
        let after = Db::numbers(&mut tx, "SELECT count(*) FROM orders").await?[0];
        tx.commit().await?;
        Ok::<_, ShopError>((before, after))
    };
    messenger.scope(async { fenced(&order(id), body).await }).await.expect("committed")
}

#[tokio::test]
async fn what_a_transaction_sees_of_others() {
    let world = World::with_connections(1).await;
    assert_eq!(seen(&world, 1, Isolation::ReadCommitted).await, (0, 1));
    assert_eq!(seen(&world, 2, Isolation::RepeatableRead).await, (1, 1));
    assert_eq!(seen(&world, 3, Isolation::ReadCommitted).await, (2, 3), "not the one before's");
}
