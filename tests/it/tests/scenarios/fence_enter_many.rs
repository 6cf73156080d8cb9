//! Many callers that have not committed yet: more than a fence has connections, and than a pooler lets through.

use std::time::Duration;

use it::{Dialect, ShopError, fast, fenced, order};
use transactional_message::MessageState;

use super::fence_enter::pay_in;
use crate::{Db, World};

#[tokio::test]
async fn open_transactions_of_callers_keep_nobody_else_waiting() {
    let world = World::with_connections(12).await;
    // One that is asked about waits for this long.
    let settings = fast().check_after(Duration::from_mins(10)).fence_lock_timeout(Duration::from_mins(1));
    let messenger = world.messenger_with(settings).await;
    let mut open = Vec::new();
    // On SQLite, the first would keep the others from writing.
    let count = if Db::ONE_WRITER { 0 } else { 8 };
    for id in 0..count {
        let mut tx = world.shop.begin().await.expect("begins");
        messenger.scope(pay_in(&mut tx, id, false)).await.expect("pays");
        open.push(tx);
    }
    let body = async { Err(ShopError::Declined) };
    messenger.scope(async { fenced::<()>(&order(9), body).await }).await.expect_err("declined");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    assert_eq!(messenger.stats().await.expect("counts").half, open.len() as u64);
    for tx in open {
        tx.commit().await.expect("commits");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, world.orders().await);
}
