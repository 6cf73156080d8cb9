//! A store with columns in `utf8mb3`, which holds no letter of four bytes.

use it::{fast, run};

use crate::World;
use crate::servers::counts::counts_arrive_without_their_texts;

#[tokio::test]
async fn counts_arrive_in_utf8mb3() {
    let world = World::new().await;
    let settings = fast().delivery_attempts(3).check_back_attempts(3);
    let messenger = world.messenger_with(settings).await;
    let alter = "ALTER TABLE tm_message MODIFY reason TEXT CHARACTER SET utf8mb3";
    run(&world.store(), alter).await.expect("alters");
    counts_arrive_without_their_texts(&world, &messenger).await;
}
