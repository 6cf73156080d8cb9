//! A live body is never asked about, however long it takes, and however impatient others are.

use std::time::Duration;

use futures_util::future::join_all;
use it::{Reply, counted, fast, fenced, handled, number, order, wait_until};
use transactional_message::{MessageState, Messenger, begin};

use super::operator::newest;
use crate::World;

/// One messenger for the calls, and another over the same store that looks all the time.
async fn messengers(world: &World) -> (Messenger, Messenger) {
    let own = world.messenger().await;
    let settings = fast().poll_interval(Duration::from_millis(2));
    (own, world.messenger_with(settings).await)
}

/// More than are renewed in one statement.
const MANY: u64 = 700;

fn three_leases() -> Duration {
    fast().lease * 3
}

/// Waits until the lease of every half was renewed over so many leases.
async fn renewed(world: &World, lease: Duration, times: u32) {
    let (store, span) = (world.store(), lease * (times + 1));
    let held = "SELECT min(due_at - created_at) FROM tm_message WHERE state = 0";
    wait_until("the leases to be renewed", async || {
        u128::from(number(&store, held).await.unsigned_abs()) >= span.as_millis()
    })
    .await;
}

#[tokio::test]
async fn a_handler_is_never_asked_about_slow_bodies_however_many_they_are() {
    let world = World::new().await;
    // So many halves take their time on a busy machine, and none may lapse before it is stored.
    let lease = fast().lease * 2;
    let own = world.messenger_with(fast().lease(lease)).await;
    let other = fast().lease(lease).poll_interval(Duration::from_millis(2));
    let other = world.messenger_with(other).await;
    let (progress, watch) = tokio::sync::watch::channel(0);
    let slow = async |id: u64| {
        // A wrong question would be answered wrongly.
        world.oracle.say(id, [Reply::Cancel]);
        let mut begins = watch.clone();
        begins.wait_for(|upto| id < *upto).await.expect("begins");
        let body = async {
            begins.wait_for(|upto| *upto > MANY).await.expect("ends");
            Ok(())
        };
        own.scope(async { handled(&order(id), body).await }).await.expect("ok");
    };
    let conduct = async {
        // In groups, so that none waits long for its half.
        for upto in (50..=MANY).step_by(50) {
            progress.send(upto).expect("waits");
            let stored = async || counted(&own).await.is_some_and(|stats| stats.half == upto);
            wait_until("the halves of the group", stored).await;
        }
        renewed(&world, lease, 3).await;
        progress.send(MANY + 1).expect("waits");
    };
    tokio::join!(join_all((0..MANY).map(slow)), conduct);
    world.settled(&other).await;
    assert_eq!(world.oracle.questions(), []);
    assert_eq!(world.listener.orders(), (0..MANY).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fence_is_never_asked_about_slow_bodies_before_their_transaction() {
    let world = World::new().await;
    let (own, other) = messengers(&world).await;
    let (progress, watch) = tokio::sync::watch::channel(false);
    let slow = async |id: u64| {
        let mut late = watch.clone();
        let body = async {
            late.wait_for(|late| *late).await.expect("goes on");
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        own.scope(async { fenced(&order(id), body).await }).await.expect("not fenced");
    };
    let conduct = async {
        wait_until("the halves", async || counted(&own).await.is_some_and(|stats| stats.half == 20)).await;
        renewed(&world, fast().lease, 3).await;
        progress.send(true).expect("waits");
    };
    tokio::join!(join_all((0..20).map(slow)), conduct);
    world.settled(&other).await;
    assert_eq!(world.fences(2).await, 0, "tombstones");
    assert_eq!(world.listener.orders(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fence_is_never_asked_about_a_slow_transaction() {
    let world = World::new().await;
    let (own, other) = messengers(&world).await;
    let (progress, mut watch) = tokio::sync::watch::channel(0);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        watch.wait_for(|leases| *leases >= 3).await.expect("goes on");
        tx.commit().await?;
        // And some more, after the commit.
        watch.wait_for(|leases| *leases >= 6).await.expect("goes on");
        Ok(())
    };
    let conduct = async {
        wait_until("the half", async || counted(&own).await.is_some_and(|stats| stats.half == 1)).await;
        for leases in [3, 6] {
            renewed(&world, fast().lease, leases).await;
            progress.send(leases).expect("waits");
        }
    };
    let order = order(1);
    let (slow, (), watched) = tokio::join!(own.scope(async { fenced(&order, body).await }), conduct, async {
        let id = newest(&other, MessageState::Half).await;
        // As long as it is half, nobody may have counted a question.
        while let Some(half) = other.admin().find(id).await.expect("finds")
            && half.state == MessageState::Half
        {
            assert_eq!((half.attempts, half.reason), (0, None));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        id
    });
    slow.expect("committed");
    world.settled(&other).await;
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(world.effects(watched).await, 1);
}

#[tokio::test]
async fn a_slow_check_back_handler_is_not_asked_twice_at_once() {
    let world = World::new().await;
    let (own, other) = messengers(&world).await;
    world.oracle.say(1, [Reply::Slow(three_leases())]);
    world.vanish(&own, 1).await;
    world.settled(&other).await;
    assert_eq!(world.oracle.asked(1).len(), 1);
    assert_eq!(world.listener.orders(), [1]);
}
