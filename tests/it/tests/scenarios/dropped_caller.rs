//! The caller's future is dropped after its k-th poll, for every k: nothing is lost, sent for
//! nothing, stuck, or left open.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use it::{Dialect, ShopError, fenced, handled, order};
use transactional_message::{MessageState, Messenger, begin};

use crate::{Db, World};

/// Ends with `None` instead of a poll too many.
struct Polled<F> {
    future: Pin<Box<F>>,
    left: u32,
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let left = self.left;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Dropped at once: what the last poll has begun is under way.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

pub(crate) async fn polled<F: Future>(times: u32, future: F) -> Option<F::Output> {
    Polled { future: Box::pin(future), left: times }.await
}

/// Says how many polls the whole call took.
async fn after_every_poll(world: &World, messenger: &Messenger) -> u32 {
    for times in 1.. {
        let id = u64::from(times);
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            tx.amend(&it::Order { note: "amended".into(), ..order(id) })?;
            tx.commit().await?;
            Ok(())
        };
        let ended = polled(times, messenger.scope(async { fenced(&order(id), body).await })).await;
        world.settled(messenger).await;
        world.shop_is_clean().await;
        let there = world.orders().await.contains(&id);
        let heard = world.listener.heard_of(id);
        assert_eq!(heard.len(), usize::from(there), "dropped after {times} polls");
        assert!(heard.iter().all(|heard| heard.body.contains("amended")), "{heard:?}");
        if let Some(ended) = ended {
            ended.expect("committed");
            assert!(there);
            return times;
        }
    }
    unreachable!("a call has an end")
}

#[tokio::test]
async fn of_a_fenced_call() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    // What a poll has begun takes different times, so one round is not like another. In some, nearly
    // every answer is there at once.
    let (mut rounds, mut most) = (0, 0);
    while rounds < 3 || most < 4 {
        assert!(rounds < 30, "{most} polls are too few to have seen anything");
        most = most.max(after_every_poll(&world, &messenger).await);
        it::run(&world.shop, "DELETE FROM orders").await.expect("deletes");
        assert_eq!(messenger.stats().await.expect("counts").parked, 0, "round {rounds}");
        // The next round uses the same numbers.
        world.listener.forget();
        rounds += 1;
    }
    assert!(messenger.shutdown(Duration::from_secs(30)).await);
}

#[tokio::test]
async fn of_a_fenced_call_with_the_store_in_the_business_database() {
    let world = World::with_connections(1).await;
    let messenger = World::start(world.builder_on("shop").consumer(world.consumer())).await;
    after_every_poll(&world, &messenger).await;
}

/// Nor does the next transaction on that connection, which is only dropped, stay open.
#[tokio::test]
async fn of_a_begin_that_is_refused() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    for times in 1.. {
        let body = async {
            begin(&world.shop).await?.commit().await?;
            Ok::<_, ShopError>(
                polled(times, begin(&world.shop).into_future()).await.map(|begun| begun.is_err()),
            )
        };
        let id = u64::from(times);
        let refused = messenger.scope(async { fenced(&order(id), body).await }).await.expect("committed");
        let mut next = world.shop.begin().await.expect("begins");
        Db::run(&mut next, format!("INSERT INTO orders (id) VALUES ({id})")).await.expect("writes");
        drop(next);
        world.shop_is_clean().await;
        if let Some(refused) = refused {
            assert!(refused, "it has committed already");
            break;
        }
    }
    assert_eq!(world.orders().await, [0; 0]);
}

#[tokio::test]
async fn of_a_fenced_call_on_a_connection_of_its_own() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    for times in 1.. {
        let id = u64::from(times);
        let ended = {
            let mut connection = world.shop.acquire().await.expect("acquires");
            let body = async {
                let mut tx = begin(&mut connection).await?;
                World::write(&mut tx, id).await?;
                Ok(tx.commit().await?)
            };
            let order = order(id);
            let call = pin!(messenger.scope(async { fenced(&order, body).await }));
            polled(times, call).await
        };
        world.settled(&messenger).await;
        world.shop_is_clean().await;
        let there = world.orders().await.contains(&id);
        assert_eq!(world.listener.heard_of(id).len(), usize::from(there), "dropped after {times} polls");
        if ended.is_some() {
            return;
        }
    }
}

#[tokio::test]
async fn of_a_handled_call() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for times in 1.. {
        let id = u64::from(times);
        world.oracle.say(id, [it::Reply::Cancel]);
        let body = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            Ok::<_, ShopError>(())
        };
        let ended = polled(times, messenger.scope(async { handled(&order(id), body).await })).await;
        world.settled(&messenger).await;
        let delivered = world.listener.heard_of(id).len();
        assert_eq!(delivered, usize::from(ended.is_some()), "the handler says that nothing took effect");
        if ended.is_some() {
            assert!(times > 5);
            assert_eq!(world.oracle.asked(id), []);
            break;
        }
    }
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.parked, stats.delivered), (0, 1));
    world.count(&messenger, MessageState::Dead, 0).await;
}

#[tokio::test]
async fn at_any_time() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    // Dropped by the clock, in steps that are finer than anything in a call takes.
    for id in 0..120_u64 {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        let order = order(id);
        let call = messenger.scope(async { fenced(&order, body).await });
        _ = tokio::time::timeout(Duration::from_micros(id * 100), call).await;
    }
    world.settled(&messenger).await;
    world.shop_is_clean().await;
    assert_eq!(world.listener.orders(), world.orders().await);
    assert_eq!(messenger.stats().await.expect("counts").parked, 0);
}
