//! The store does what its port says.

use it::Place;
use transactional_message::testing::exercise;

use crate::World;

#[tokio::test]
async fn the_store_conforms() {
    let world = World::new().await;
    exercise(world.place.database("store")).await;
}

#[tokio::test]
async fn a_store_in_the_business_database_conforms_too() {
    let world = World::new().await;
    exercise(world.place.database("shop")).await;
    assert!(world.orders().await.is_empty(), "the business tables are left alone");
}
