//! A consumer that stood still in the middle of a message: whatever others think, it has one effect.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use it::{Connection, Dialect, Gate, Process, counted, fast, gate, listed, wait_until};
use transactional_message::{Consume, Consumer, MessageState, RawPayload, Received};

use crate::{Db, World};

/// Writes the effect, and stands still before its transaction ends.
#[derive(Clone)]
struct Pausing {
    gate: Arc<Gate>,
    fails: bool,
}

impl<'c> Consume<'c, Connection<Db>, RawPayload> for Pausing {
    type Error = String;
    type Future = BoxFuture<'c, Result<(), String>>;

    fn consume(&self, connection: &'c mut Connection<Db>, message: Received<RawPayload>) -> Self::Future {
        let Self { gate, fails } = self.clone();
        Box::pin(async move {
            let body = String::from_utf8(message.payload.0).expect("text");
            Db::effect(connection, "books", message.id, &body).await.map_err(|error| error.to_string())?;
            gate.wait();
            if fails { Err("too late".into()) } else { Ok(()) }
        })
    }
}

/// The message is given up as dead while its first consumer stands still; says how it ended.
async fn given_up_while_it_is_handled(world: &World, fails: bool) -> MessageState {
    let (go_on, gate) = gate();
    let gate = Arc::new(gate);
    let pausing = Pausing { gate: Arc::clone(&gate), fails };
    let elsewhere = world.elsewhere();
    let consumer = Consumer::new("books", elsewhere.books, pausing).bind("shop", "#");
    let builder = world.elsewhere().builder().consumer(consumer);
    // Before the process, which sets the file up: a connection that comes meanwhile finds it locked.
    let mut store = world.store().acquire().await.expect("acquires");
    let process = Process::start(move || async move {
        let messenger = World::start_to_stand_still(builder).await;
        let ended: Result<(), it::ShopError> =
            messenger.scope(async { it::handled(&it::order(1), async { Ok(()) }).await }).await;
        ended.expect("ok");
        // Here it stands still, until it is told to go on.
        wait_until("the message to be settled", async || {
            counted(&messenger).await.is_some_and(|stats| stats.confirmed == 0)
        })
        .await;
        assert!(messenger.shutdown(Duration::from_secs(30)).await);
    });
    wait_until("the message to be on its way", async || {
        // Until the process has migrated, there is no table.
        let confirmed = Db::numbers(&mut store, "SELECT count(*) FROM tm_message WHERE state = 1").await;
        confirmed.is_ok_and(|confirmed| confirmed == [1])
    })
    .await;
    // Another one takes over, finds nobody who would take the message, and gives it up at once.
    let other = World::start(world.builder().settings(fast().delivery_attempts(1))).await;
    world.count(&other, MessageState::Dead, 1).await;
    assert!(other.shutdown(Duration::from_secs(30)).await);
    go_on.send(()).expect("goes on");
    process.join().await;
    let messenger = world.messenger().await;
    let dead = messenger.admin().list(MessageState::Dead, None, 1).await.expect("lists");
    let Some(dead) = dead.first() else {
        assert_eq!(messenger.stats().await.expect("counts").delivered, 1);
        return MessageState::Delivered;
    };
    messenger.admin().retry(dead.id, "test").await.expect("tries again");
    world.settled(&messenger).await;
    MessageState::Dead
}

#[tokio::test]
async fn a_late_acknowledgement_marks_a_dead_message_as_delivered() {
    let world = World::new().await;
    assert_eq!(given_up_while_it_is_handled(&world, false).await, MessageState::Delivered);
    assert_eq!(world.effects_of_orders().await, [1]);
    assert!(world.listener.heard().is_empty(), "it did not come again");
}

#[tokio::test]
async fn a_late_failure_leaves_a_dead_message_dead() {
    let world = World::new().await;
    assert_eq!(given_up_while_it_is_handled(&world, true).await, MessageState::Dead);
    assert_eq!(world.effects_of_orders().await, [1], "of the retry");
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn a_message_that_two_messengers_deliver_at_once_has_one_effect() {
    let world = World::new().await;
    // Handlers are ended in the midst of their work, and the message comes again, to either of them.
    let consumer = || world.consumer().handler_timeout(Duration::from_millis(200)).max_attempts(u32::MAX);
    let settings = fast().delivery_attempts(u32::MAX);
    let messenger = async || World::start(world.builder().settings(settings).consumer(consumer())).await;
    let (one, two) = (messenger().await, messenger().await);
    for id in 0..20 {
        world.listener.will(id, [it::Action::Slow(Duration::from_millis(400)), it::Action::Write]);
        world.handle(if id % 2 == 0 { &one } else { &two }, id).await.expect("ok");
    }
    world.settled(&one).await;
    assert_eq!(world.effects_of_orders().await, (0..20).collect::<Vec<_>>());
    assert_eq!(two.stats().await.expect("counts").dead, 0);
}

/// Only what nobody handles any more is begun alone, and noted for that.
#[tokio::test]
async fn a_message_that_somebody_is_still_handling_is_not_begun_again() {
    let world = World::new().await;
    let (go_on, gate) = gate();
    let pausing = Pausing { gate: Arc::new(gate), fails: false };
    let consumer = Consumer::new("books", world.elsewhere().books, pausing).bind("shop", "#");
    let builder = world.elsewhere().builder().consumer(consumer);
    // Before the process, which sets the file up: a connection that comes meanwhile finds it locked.
    let mut store = world.store().acquire().await.expect("acquires");
    let process = Process::start(move || async move {
        let messenger = World::start_to_stand_still(builder).await;
        messenger.scope(async { it::handled(&it::order(1), async { Ok(()) }).await }).await.expect("ok");
        // Here it stands still, until it is told to go on.
        wait_until("the message to be settled", async || {
            counted(&messenger).await.is_some_and(|stats| stats.confirmed == 0)
        })
        .await;
        assert!(messenger.shutdown(Duration::from_secs(30)).await);
    });
    wait_until("the message to be on its way", async || {
        let confirmed = Db::numbers(&mut store, "SELECT count(*) FROM tm_message WHERE state = 1").await;
        confirmed.is_ok_and(|confirmed| confirmed == [1])
    })
    .await;
    let other = world.messenger().await;
    wait_until("it to come to another process", async || {
        let waiting = listed(&other, MessageState::Confirmed, 1).await;
        waiting.iter().flatten().any(|message| message.reason.is_some())
    })
    .await;
    let entered = async || it::number(&world.books, "SELECT count(*) FROM tm_inbox_entered").await;
    let waiting = other.admin().list(MessageState::Confirmed, None, 1).await.expect("lists").remove(0);
    assert_eq!((waiting.attempts, entered().await), (0, 0), "{waiting:?}");
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&other).await;
    assert_eq!((world.effects_of_orders().await, entered().await), (vec![1], 0));
    assert!(world.listener.heard().is_empty(), "it was done already");
}
