//! A message that can't be handled, or finds nobody, waits for an operator and delays nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use it::AnsweredBy;
use it::{Action, Connection, Order, Place, ShopError, fast, listed, run, texts, wait_until};
use transactional_message::{Consume, Consumer, Message, MessageInfo, MessageState, Messenger, Received};

use crate::{Db, World};

async fn dead(world: &World, messenger: &Messenger, count: u64) -> Vec<MessageInfo> {
    world.count(messenger, MessageState::Dead, count).await;
    messenger.admin().list(MessageState::Dead, None, 100).await.expect("lists")
}

async fn send(messenger: &Messenger, message: Message) {
    let handler = AnsweredBy::Handler("it.handled".into());
    let ended: Result<(), ShopError> = messenger.call(it::call(handler, [message]), async { Ok(()) }).await;
    ended.expect("ok");
}

#[tokio::test]
async fn poison_delays_no_neighbours_and_is_delivered_when_its_consumer_is_mended() {
    let world = World::new().await;
    let messenger = World::start(world.builder().consumer(world.consumer().max_attempts(3))).await;
    world.listener.will(1000, [Action::Fail]);
    world.listener.will(1001, [Action::Panic]);
    let good = join_all((0..50).map(|id| world.handle(&messenger, id)));
    let bad = join_all((1000..1002).map(|id| world.handle(&messenger, id)));
    let (bad, good) = tokio::join!(bad, good);
    assert!(bad.into_iter().chain(good).all(|ended| ended.is_ok()));
    let dead = dead(&world, &messenger, 2).await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..50).collect::<Vec<_>>());
    for message in &dead {
        let expected = match message.business_key.as_deref() {
            Some("1000") => "failed 3 times; the last time: no ink",
            Some("1001") => "failed 3 times; the last time: the handler panicked: the listener fell over",
            other => panic!("{other:?} is dead"),
        };
        assert_eq!(message.reason.as_deref(), Some(expected));
    }
    // Mended; an operator tries again.
    world.listener.will(1000, [Action::Write]);
    world.listener.will(1001, [Action::Write]);
    for message in dead {
        messenger.admin().retry(message.id, "mended").await.expect("tries again");
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..50).chain([1000, 1001]).collect::<Vec<_>>());
    assert_eq!(messenger.stats().await.expect("counts").dead, 0);
}

/// Takes only orders.
#[derive(Clone, Default)]
struct Typed(Arc<AtomicBool>);

impl<'c> Consume<'c, Connection<Db>, Order> for Typed {
    type Error = String;
    type Future = std::future::Ready<Result<(), String>>;

    fn consume(&self, _: &'c mut Connection<Db>, _: Received<Order>) -> Self::Future {
        self.0.store(true, Ordering::SeqCst);
        std::future::ready(Ok(()))
    }
}

#[tokio::test]
async fn a_body_that_can_not_be_decoded_is_dead_at_once() {
    let world = World::new().await;
    let typed = Typed::default();
    let consumer = Consumer::new("typed", world.books.clone(), typed.clone())
        .bind("shop", "#")
        .undecodable_after(Duration::ZERO);
    let messenger = World::start(world.builder().consumer(consumer)).await;
    send(&messenger, Message::bytes("shop", "x", "application/json", "{\"id\": \"a word\"}")).await;
    let dead = dead(&world, &messenger, 1).await.remove(0);
    let reason = dead.reason.expect("a reason");
    assert!(reason.starts_with("the body can't be decoded: not of the expected type, at line 1"), "{reason}");
    assert!(!reason.contains("a word"), "payloads are private: {reason}");
    assert_eq!(dead.attempts, 1);
    assert!(!typed.0.load(Ordering::SeqCst), "the handler was not called");
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn what_one_version_cannot_read_waits_uncounted_for_another_and_is_dead_in_the_end() {
    let world = World::new().await;
    let settings = fast().delivery_attempts(2);
    let typed = |patience| {
        let typed = Consumer::new("books", world.books.clone(), Typed::default()).bind("shop", "#");
        world.builder().settings(settings).consumer(typed.undecodable_after(patience))
    };
    let old = World::start(typed(Duration::from_mins(1))).await;
    send(&old, Message::bytes("shop", "x", "application/json", "{\"id\": \"a word\"}")).await;
    wait_until("it to be seen, and kept", async || {
        let waiting = listed(&old, MessageState::Confirmed, 100).await;
        waiting
            .iter()
            .flatten()
            .any(|one| one.reason.as_deref().is_some_and(|why| why.contains("can't be decoded")))
    })
    .await;
    // Those that have waited longer wait longer.
    let new = World::start(world.builder().settings(settings).consumer(world.consumer())).await;
    world.count(&new, MessageState::Delivered, 1).await;
    assert_eq!(new.admin().list(MessageState::Delivered, None, 100).await.expect("lists")[0].attempts, 0);
    assert_eq!(world.all_effects().await, 1);
    for messenger in [old, new] {
        assert!(messenger.shutdown(Duration::from_secs(5)).await, "in time");
    }

    let alone = World::start(typed(Duration::from_millis(300))).await;
    send(&alone, Message::bytes("shop", "x", "application/json", "{\"id\": \"a word\"}")).await;
    let dead = dead(&world, &alone, 1).await.remove(0);
    assert!(dead.reason.as_deref().is_some_and(|why| why.contains("nobody could for 300ms")), "{dead:?}");
}

#[tokio::test]
async fn a_message_that_finds_nobody_says_so_dies_and_is_delivered_once_somebody_is_there() {
    let world = World::new().await;
    let settings = fast().delivery_attempts(5);
    let lonely = World::start(world.builder().settings(settings)).await;
    world.handle(&lonely, 1).await.expect("ok");
    wait_until("the first failure", async || {
        let messages = listed(&lonely, MessageState::Confirmed, 1).await;
        messages.is_some_and(|messages| messages.iter().all(|message| message.reason.is_some()))
    })
    .await;
    let message = dead(&world, &lonely, 1).await.remove(0);
    let expected = "unroutable: no consumer in this process is bound to exchange `shop` with a pattern for `order.handled`";
    assert_eq!(message.reason.as_deref(), Some(expected));
    assert_eq!(message.attempts, 5, "the fifth was the last");
    assert!(lonely.shutdown(Duration::from_secs(30)).await);

    let messenger = world.messenger().await;
    messenger.admin().retry(message.id, "somebody is there").await.expect("tries again");
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1]);
    assert_eq!(world.listener.heard()[0].attempt, 1, "the count begins anew");
}

#[tokio::test]
async fn exchanges_and_topic_patterns_choose_the_queues() {
    let world = World::new().await;
    let queues = [
        ("star", "shop", "order.*"),
        ("hash", "shop", "order.#"),
        ("exact", "shop", "order.paid"),
        ("tail", "shop", "#.late"),
        ("elsewhere", "depot", "#"),
        ("default", "", "direct"),
    ];
    let mut builder = world.builder();
    let mut listeners = Vec::new();
    for (queue, exchange, pattern) in queues {
        let listener = World::another_listener(queue);
        builder = builder
            .consumer(Consumer::new(queue, world.books.clone(), listener.clone()).bind(exchange, pattern));
        listeners.push(listener);
    }
    let messenger = World::start(builder).await;
    for (exchange, key) in [
        ("shop", "order.paid"),
        ("shop", "order"),
        ("shop", "order.paid.late"),
        ("depot", "order.paid"),
        ("", "direct"),
    ] {
        send(&messenger, Message::bytes(exchange, key, "text/plain", format!("{exchange}/{key}"))).await;
    }
    world.settled(&messenger).await;
    let heard: Vec<Vec<String>> = listeners
        .iter()
        .map(|listener| {
            let mut bodies: Vec<_> = listener.heard().into_iter().map(|heard| heard.body).collect();
            bodies.sort();
            bodies
        })
        .collect();
    assert_eq!(
        heard,
        [
            vec!["shop/order.paid"],
            vec!["shop/order", "shop/order.paid", "shop/order.paid.late"],
            vec!["shop/order.paid"],
            vec!["shop/order.paid.late"],
            vec!["depot/order.paid"],
            vec!["/direct"],
        ]
    );
}

#[tokio::test]
async fn a_consumer_without_its_database_acknowledges_nothing_and_catches_up() {
    let world = World::new().await;
    let impatient = world.place.impatient("books");
    let consumer =
        Consumer::new("books", impatient, world.listener.clone()).bind("shop", "#").max_attempts(u32::MAX);
    let messenger =
        World::start(world.builder().settings(fast().delivery_attempts(u32::MAX)).consumer(consumer)).await;
    let outage = world.outage("books").await;
    for id in 0..10 {
        world.handle(&messenger, id).await.expect("ok");
    }
    wait_until("failures", async || {
        let waiting = listed(&messenger, MessageState::Confirmed, 100).await.unwrap_or_default();
        waiting.len() == 10 && waiting.iter().all(|message| message.reason.is_some())
    })
    .await;
    assert_eq!(messenger.stats().await.expect("counts").delivered, 0);
    outage.end().await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_row_that_can_not_be_read_is_put_aside_and_its_neighbours_go_on() {
    let world = World::new().await;
    let lonely = World::start(world.builder()).await;
    for id in 0..10 {
        world.handle(&lonely, id).await.expect("ok");
    }
    world.count(&lonely, MessageState::Confirmed, 10).await;
    assert!(lonely.shutdown(Duration::from_secs(30)).await);
    let store = world.store();
    let damage = "UPDATE tm_message SET headers = 'no JSON' WHERE message_key = '3';
                  UPDATE tm_message SET answered_by = 'no such kind' WHERE message_key = '4'";
    run(&store, damage).await.expect("damages");
    let messenger = world.messenger().await;
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [0, 1, 2, 5, 6, 7, 8, 9]);
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.dead, stats.delivered), (2, 8));
    let sql = "SELECT reason FROM tm_message WHERE state = 5 ORDER BY message_key";
    let reasons = texts(&store, sql).await;
    assert!(reasons[0].contains("headers"), "{reasons:?}");
    assert!(reasons[1].contains("no such kind"), "{reasons:?}");
    let listed =
        messenger.admin().list(MessageState::Dead, None, 10).await.expect("an operator can see them");
    assert_eq!(listed.len(), 2);
}
