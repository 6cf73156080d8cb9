//! Transactions side by side: one that is open keeps nobody from an answer, and no call from its end.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Dialect, Place, Process, ShopError, fenced, gate, handled, listed, order, wait_until};
use transactional_message::{MessageState, begin};

use crate::{Db, World};

const NEIGHBOURS: u64 = 20;

/// Rule 7: of the questions that are asked at once, one finds a transaction that is still open.
#[tokio::test]
async fn an_open_transaction_is_never_cancelled_and_its_neighbours_are_answered() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (go_on, gate) = gate();
    let process = Process::start(move || async move {
        let messenger = World::start(elsewhere.builder()).await;
        let shop = elsewhere.place.pool("shop", 1);
        let barrier = tokio::sync::Barrier::new(usize::try_from(NEIGHBOURS).expect("small") + 1);
        let open = async {
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 0).await?;
            barrier.wait().await;
            // Nobody's lease is renewed from here on.
            gate.wait();
            Ok(tx.commit().await?)
        };
        let neighbour = async |id: u64| {
            let body = async {
                barrier.wait().await;
                std::future::pending::<Result<(), ShopError>>().await
            };
            fenced(&order(id), body).await
        };
        let first = order(0);
        let calls = async {
            tokio::select! {
                ended = fenced(&first, open) => ended.expect("committed"),
                _ = join_all((1..=NEIGHBOURS).map(neighbour)) => unreachable!("they don't end"),
            }
        };
        messenger.scope(calls).await;
        assert!(messenger.shutdown(Duration::from_secs(30)).await);
    });
    let messenger = world.messenger().await;
    world.count(&messenger, MessageState::Cancelled, NEIGHBOURS).await;
    wait_until("the open one to be asked about twice", async || {
        listed(&messenger, MessageState::Half, 2).await.iter().flatten().any(|half| half.attempts > 1)
    })
    .await;
    let half = messenger.admin().list(MessageState::Half, None, 2).await.expect("lists").remove(0);
    assert_eq!(half.business_key.as_deref(), Some("0"));
    assert!(half.reason.as_deref().is_some_and(|reason| reason.contains(Db::LOCKED)), "{half:?}");
    assert_eq!(world.fences(2).await.unsigned_abs(), NEIGHBOURS);
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [0]);
    assert_eq!(world.effects_of_orders().await, [0]);
}

#[tokio::test]
async fn a_call_inside_an_open_transaction_is_a_call_of_its_own() {
    let world = World::new().await;
    let messenger = World::start(world.builder_on("shop").consumer(world.consumer())).await;
    let (inner, fenced_inner, declined) = (order(2), order(3), order(4));
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        handled(&inner, async { Ok(()) }).await?;
        let with_its_own = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, 3).await?;
            Ok(tx.commit().await?)
        };
        fenced(&fenced_inner, with_its_own).await?;
        handled::<()>(&declined, async { Err(ShopError::Declined) }).await.expect_err("declined");
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1, 2, 3]);
    assert_eq!(world.orders().await, [1, 3]);
}
