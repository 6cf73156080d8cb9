//! Migrations on the application's pools, whose settings were made for other work.

use it::{Place, number, wait_until};
use transactional_message::Consumer;

use crate::World;

/// What a migration locks, so that the next one comes after it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8390876182754714484)";

#[tokio::test]
async fn a_migration_waits_for_another_one_longer_than_its_pool_waits_for_locks() {
    let world = World::new().await;
    world.messenger().await;
    let mut another = world.shop.begin().await.expect("begins");
    sqlx::query(LOCK).execute(&mut *another).await.expect("locks");

    // 10 ms is what this pool's sessions wait for a lock.
    let consumer =
        Consumer::new("late", world.place.impatient("late"), world.listener.clone()).bind("shop", "#");
    world.place.create(&["late"]).await;
    let messenger = world.builder().consumer(consumer).build().await.expect("builds");
    let migrates = tokio::spawn(async move { messenger.migrate().await });
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND wait_event = 'advisory' \
         AND clock_timestamp() > query_start + interval '100 ms'",
        world.place.name()
    );
    wait_until("the migration to wait", async || {
        migrates.is_finished() || number(&world.books, waiting.clone()).await == 1
    })
    .await;
    another.commit().await.expect("commits");
    migrates.await.expect("no panic").expect("migrates after the other one");
}
