//! Several messages of one call are stored together, and decided together; so is none at all.

use futures_util::FutureExt;
use it::AnsweredBy;
use it::{Process, Reply, ShopError, fast, fenced_twice, handled_twice, order, vanish};
use serde_json::json;
use transactional_message::testing::Recorder;
use transactional_message::{ErrorKind, Message, MessageState, Messenger, begin, withhold};

use crate::World;

/// The keys under which an order's messages were delivered.
fn keys(world: &World, id: u64) -> Vec<String> {
    let mut keys: Vec<_> = world.listener.heard_of(id).into_iter().map(|heard| heard.routing_key).collect();
    keys.sort();
    keys
}

const BOTH: [&str; 2] = ["order.first", "order.second"];

#[tokio::test]
async fn stacked_attributes_make_one_call_with_one_fence_row() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in 0..12 {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            match id % 4 {
                0 => Ok(tx.commit().await?),
                1 => Err(ShopError::Declined),
                2 => {
                    withhold()?;
                    Ok(tx.commit().await?)
                }
                _ => panic!("on purpose"),
            }
        };
        let call = messenger.scope(async { fenced_twice(&order(id), body).await });
        _ = std::panic::AssertUnwindSafe(call).catch_unwind().await;
    }
    world.settled(&messenger).await;
    for id in 0..12 {
        assert_eq!(keys(&world, id), if id % 4 == 0 { &BOTH[..] } else { &[] }, "{id}");
    }
    let rows = (world.fences(1).await, world.fences(2).await, world.fences(3).await);
    assert_eq!(rows, (3, 6, 3), "one row a call: committed, closed, withheld");
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.cancelled, stats.parked), (6, 18, 0));
    let calls: std::collections::HashSet<_> = messenger
        .admin()
        .list(MessageState::Delivered, None, 100)
        .await
        .expect("lists")
        .iter()
        .map(|message| message.call_id)
        .collect();
    assert_eq!(calls.len(), 3, "both messages of a call have its id");
}

#[tokio::test]
async fn stacked_messages_are_decided_together_when_the_report_is_lost() {
    let world = World::new().await;
    let configure = |builder: transactional_message::MessengerBuilder| {
        builder.data(world.oracle.clone()).settings(fast())
    };
    let recorder = Recorder::on_with(&world.shop, configure).await.expect("a recorder");
    recorder.lose_reports(true);
    for (id, commits) in [(1, true), (2, false)] {
        let body = async {
            let tx = begin(&world.shop).await?;
            if commits { Ok(tx.commit().await?) } else { Ok(()) }
        };
        recorder.scope(fenced_twice(&order(id), body)).await.expect("ok");
    }
    recorder.settle().await.expect("settles");
    let body = json!({ "id": 1, "note": "" });
    let mut sent: Vec<_> = recorder.sent().into_iter().map(|sent| (sent.routing_key, sent.payload)).collect();
    sent.sort_by(|one, two| one.0.cmp(&two.0));
    assert_eq!(sent, BOTH.map(|key| (key.to_owned(), body.clone())));
    assert_eq!(recorder.messenger().stats().await.expect("counts").cancelled, 2);
}

#[tokio::test]
async fn stacked_messages_of_a_dead_process_are_decided_together() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (builder, shop) = (elsewhere.builder(), elsewhere.shop);
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let body = async {
            begin(&shop).await?.commit().await?;
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), ShopError> = messenger.scope(async { fenced_twice(&order(1), body).await }).await;
    });
    wait.await.expect("gets there");
    process.kill().await;
    let messenger = world.messenger().await;
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(keys(&world, 1), BOTH);
}

#[tokio::test]
async fn stacked_messages_with_handlers_are_confirmed_and_cancelled_together() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    messenger.scope(async { handled_twice(&order(1), async { Ok(()) }).await }).await.expect("ok");
    let err = async { Err(ShopError::Declined) };
    messenger.scope(async { handled_twice::<()>(&order(2), err).await }).await.expect_err("declined");
    world.oracle.say(3, [Reply::Confirm]);
    let panics = async { panic!("on purpose") };
    vanish(messenger.scope(async { handled_twice::<()>(&order(3), panics).await })).await;
    world.settled(&messenger).await;
    assert_eq!(
        (keys(&world, 1), keys(&world, 3)),
        (BOTH.map(Into::into).into(), BOTH.map(Into::into).into())
    );
    assert_eq!(keys(&world, 2), [] as [&str; 0]);
    assert_eq!(messenger.stats().await.expect("counts").cancelled, 2);
}

/// So many messages about one order.
fn messages(id: u64, count: usize) -> Vec<Message> {
    (0..count).map(|n| Message::json("shop", format!("order.{n}"), &order(id)).expect("encodes")).collect()
}

async fn call(
    messenger: &Messenger,
    answered_by: &AnsweredBy,
    messages: Vec<Message>,
    body: impl Future<Output = Result<(), ShopError>> + Send,
) -> Result<(), ShopError> {
    messenger.call(it::call(answered_by.clone(), messages), body).await
}

#[tokio::test]
async fn a_call_sends_any_number_of_messages() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for (round, answered_by) in (0..).zip([
        AnsweredBy::Fence,
        AnsweredBy::NamedFence("orders".into()),
        AnsweredBy::Handler("it.handled".into()),
    ]) {
        for count in [0, 1, 3] {
            for ok in [true, false] {
                let id = round * 100 + count as u64 * 10 + u64::from(ok);
                let body = async {
                    if round < 2 {
                        let mut tx = begin(&world.shop).await?;
                        World::write(&mut tx, id).await?;
                        if ok {
                            tx.commit().await?;
                        }
                    }
                    if ok { Ok(()) } else { Err(ShopError::Declined) }
                };
                let ended = call(&messenger, &answered_by, messages(id, count), body).await;
                assert_eq!(ended.is_ok(), ok);
                world.settled(&messenger).await;
                let delivered = if ok { count } else { 0 };
                assert_eq!(world.listener.heard_of(id).len(), delivered, "{answered_by:?}, {count}, {ok}");
                assert_eq!(world.orders().await.contains(&id), ok && round < 2);
            }
        }
    }
    assert_eq!(world.fences(1).await, 4, "none for a call without a message says that there is one");
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.cancelled), (12, 12));
}

#[tokio::test]
async fn a_fenced_call_without_a_message_is_a_transaction_with_nothing_to_send() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        let error = tx.amend(&order(1)).expect_err("there is nothing to amend");
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(begin(&world.shop).await.is_err(), "one at a time");
        Ok(tx.commit().await?)
    };
    call(&messenger, &AnsweredBy::Fence, Vec::new(), body).await.expect("committed");
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 2).await?;
        Ok(tx.commit().await?)
    };
    call(&messenger, &AnsweredBy::Fence, Vec::new(), body).await.expect("the connection is clean");
    assert_eq!(world.orders().await, [1, 2]);
    assert_eq!((world.fences(1).await, world.fences(3).await), (0, 2));
    assert_eq!(messenger.stats().await.expect("counts").half, 0);
}

#[tokio::test]
async fn one_message_that_is_refused_keeps_the_whole_call_from_running() {
    let world = World::new().await;
    let settings = fast().body_limit(64).headers_limit(64);
    let messenger = world.messenger_with(settings).await;
    let long = "x".repeat(256);
    let bad = [
        (
            Message::bytes("shop", "k", "text/plain", vec![0; 65]),
            "more than the setting `body_limit` allows (64)",
        ),
        (
            Message::bytes("shop", "k", "t", "").header("h", &long),
            "more than the setting `headers_limit` allows",
        ),
        (Message::bytes("shop", &long, "t", ""), "routing key has 256 bytes; AMQP carries at most 255"),
        (Message::bytes("shop", "k", "t", "").business_key("a\0b"), "key contains a NUL character"),
    ];
    for (message, expected) in bad {
        let mut three = messages(1, 2);
        three.push(message);
        let body = async { unreachable!("the body must not run") };
        let error = call(&messenger, &AnsweredBy::Handler("it.handled".into()), three, body).await;
        let error = error.expect_err("refused").message();
        assert_eq!((error.kind(), error.body_ran()), (ErrorKind::InvalidMessage, false), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("xxx"), "what was sent stays private: {error}");
    }
    // Ordered behind them.
    world.handle(&messenger, 2).await.expect("ok");
    world.settled(&messenger).await;
    let stats = messenger.stats().await.expect("counts");
    assert_eq!((stats.delivered, stats.cancelled), (1, 0), "no half was stored");
}
