//! The store does what its port says, on a real file.

use it::World;
use transactional_message::testing::exercise;

#[tokio::test]
async fn the_sqlite_store_conforms() {
    let world = World::new().await;
    exercise(world.url("store.db").into()).await;
}

#[tokio::test]
async fn a_store_in_the_business_database_conforms_too() {
    let world = World::new().await;
    exercise(world.url("shop.db").into()).await;
    assert!(world.orders().await.is_empty(), "the business tables are left alone");
}
