//! The network between a service and its databases is slow, or silent at the worst moment.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use it::{Fragile, Place as _, Process, Reply, ShopError, fenced, listed, order, wait_until};
use services::proxy::Trick;
use transactional_message::{MessageState, begin};

use crate::World;

/// The world with its business database, for calls and for questions, behind a proxy.
async fn with_shop_behind_proxy(world: World) -> (it::Proxy, World) {
    let (proxy, place) = world.place.behind_proxy().await;
    (proxy, World { shop: place.pool("shop", 8), ..world })
}

#[tokio::test]
async fn a_slow_network_makes_calls_slow_and_nothing_else() {
    const DELAY: Duration = Duration::from_millis(15);
    const CALLERS: u64 = 8;
    let world = World::new().await;
    let (to_store, place) = world.place.behind_proxy().await;
    let (to_shop, world) = with_shop_behind_proxy(world).await;
    let world = World { place, ..world };
    let messenger = world.messenger().await;
    to_store.delay(DELAY);
    to_shop.delay(DELAY);
    let began = Instant::now();
    join_all((0..CALLERS).map(async |caller| {
        for n in 0..10 {
            world.pay(&messenger, caller * 100 + n).await.expect("ok");
            world.handle(&messenger, caller * 100 + 50 + n).await.expect("ok");
        }
    }))
    .await;
    assert!(began.elapsed() > DELAY * 2 * 20, "it was to be slow");
    world.settled(&messenger).await;
    let there = world.orders().await;
    assert_eq!(there.len() as u64, CALLERS * 10);
    let effects = world.effects_of_orders().await;
    assert_eq!(effects.len(), there.len() * 2);
    assert!(there.iter().all(|id| effects.contains(id) && effects.contains(&(id + 50))));
    assert_eq!(world.fences(2).await, 0, "tombstones");
}

/// What is answered by a handler goes on meanwhile.
#[tokio::test]
async fn a_silent_business_database_is_asked_until_it_answers() {
    const ORPHANS: u64 = 10;
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (reached, mut wait) = tokio::sync::mpsc::channel(10);
    let process = Process::start(move || async move {
        let messenger = World::start(elsewhere.builder()).await;
        let call = async |id: u64| {
            let body = async {
                if id.is_multiple_of(2) {
                    let mut tx = begin(&elsewhere.shop).await?;
                    World::write(&mut tx, id).await?;
                    tx.commit().await?;
                }
                reached.send(()).await.expect("waits");
                std::future::pending::<Result<(), ShopError>>().await
            };
            messenger.scope(async { fenced(&order(id), body).await }).await
        };
        join_all((0..ORPHANS).map(call)).await;
    });
    let (proxy, behind_proxy) = with_shop_behind_proxy(world.elsewhere()).await;
    let messenger = behind_proxy.messenger().await;
    for _ in 0..ORPHANS {
        wait.recv().await.expect("gets there");
    }
    proxy.silence(true);
    process.kill().await;
    let asked = async || {
        let halves = listed(&messenger, MessageState::Half, 100).await;
        let told = |why: &str| why.contains("did not answer") || why.contains("no connection");
        halves.iter().flatten().any(|half| half.reason.as_deref().is_some_and(told))
    };
    wait_until("somebody to be asked about in vain", asked).await;
    for id in 100..120 {
        world.oracle.say(id, [Reply::Confirm]);
        world.vanish(&messenger, id).await;
    }
    world.count(&messenger, MessageState::Delivered, 20).await;
    assert_eq!(messenger.stats().await.expect("counts").half, ORPHANS);
    proxy.silence(false);
    let back = Instant::now();
    world.settled(&messenger).await;
    eprintln!("a silent business database: {ORPHANS} orphans settled {:.2?} after it", back.elapsed());
    let committed: Vec<_> = (0..ORPHANS).step_by(2).collect();
    assert_eq!(world.orders().await, committed);
    assert_eq!(world.effects_of_orders().await, committed.into_iter().chain(100..120).collect::<Vec<_>>());
    assert_eq!(world.fences(2).await.unsigned_abs(), ORPHANS / 2);
}

/// The commit takes effect, and its reply does not come: the caller waits, and leaves.
#[tokio::test]
async fn a_commit_whose_reply_never_comes_is_found_out_when_its_caller_leaves() {
    let (proxy, world) = with_shop_behind_proxy(World::new().await).await;
    let messenger = world.messenger().await;
    world.pay(&messenger, 1).await.expect("ok");
    proxy.play("COMMIT", Trick::KeepReply);
    tokio::select! {
        paid = world.pay(&messenger, 2) => panic!("no reply comes: {paid:?}"),
        () = wait_until("the commit to be on its way", async || proxy.was_played()) => {}
    }
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [1, 2]);
    assert_eq!(world.effects_of_orders().await, [1, 2]);
}
