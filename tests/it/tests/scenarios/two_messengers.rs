//! Several processes over one store: work is shared, and nobody takes what it can't do.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use futures_util::future::join_all;
use it::AnsweredBy;
use it::{
    Dialect, Place, Process, Reply, ScriptedHandler, ShopError, ask, counted, handled, order, wait_until,
};
use transactional_message::{Message, MessageState, Messenger, MessengerBuilder, WithMessenger, spawn};

use crate::{Db, World};

#[tokio::test]
async fn two_messengers_share_the_questions_and_the_deliveries() {
    let world = World::new().await;
    let (one, two) = tokio::join!(world.messenger(), world.messenger());
    for id in 0..60 {
        world.oracle.say(id, [Reply::Confirm]);
    }
    join_all((0..60).map(|id| world.vanish(if id % 2 == 0 { &one } else { &two }, id))).await;
    join_all((60..100).map(async |id| {
        world.handle(if id % 2 == 0 { &one } else { &two }, id).await.expect("ok");
    }))
    .await;
    world.settled(&one).await;
    let mut asked: Vec<_> = world.oracle.questions().iter().map(|question| question.order).collect();
    asked.sort_unstable();
    assert_eq!(asked, (0..60).collect::<Vec<_>>(), "each is asked about once");
    assert_eq!(world.listener.orders(), (0..100).collect::<Vec<_>>(), "and delivered once");
    assert_eq!(two.stats().await.expect("counts"), one.stats().await.expect("counts"));
}

#[tokio::test]
async fn a_future_and_a_task_have_the_messenger_that_they_are_given() {
    let (world, other) = (World::new().await, World::new().await);
    let (one, two) = (world.messenger().await, other.messenger().await);
    let pay = |id| async move { handled(&order(id), async { Ok(()) }).await };
    let both = async move {
        pay(1).await.expect("ok");
        spawn(pay(2)).await.expect("ends").expect("ok");
    };
    // The innermost counts.
    async { both.with_messenger(&one).await }.with_messenger(&two).await;
    tokio::spawn(pay(3).with_messenger(&two)).await.expect("ends").expect("ok");
    world.settled(&one).await;
    other.settled(&two).await;
    assert_eq!((world.listener.orders(), other.listener.orders()), (vec![1, 2], vec![3]));
}

/// A call of a process that dies in its body, answered by the handler `name`.
async fn died(world: &World, builder: MessengerBuilder, name: &'static str, id: u64) {
    let builder = builder.consumer(world.elsewhere().consumer());
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let body = async {
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let message = Message::json("shop", "order.by-hand", &order(id)).expect("encodes");
        let by_hand = AnsweredBy::Handler(name.into());
        let _: Result<(), ShopError> = messenger.call(it::call(by_hand, [message]), body).await;
    });
    wait.await.expect("gets there");
    process.kill().await;
}

/// A fenced half that died, too, to be seen settled: by then the leases have lapsed.
async fn a_lease_has_passed(world: &World, by: &Messenger) {
    let elsewhere = world.elsewhere();
    let (builder, shop) = (elsewhere.builder(), elsewhere.shop);
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let body = async {
            let tx = transactional_message::begin(&shop).await?;
            tx.commit().await?;
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), ShopError> = messenger.scope(async { it::fenced(&order(999), body).await }).await;
    });
    wait.await.expect("gets there");
    process.kill().await;
    world.count(by, MessageState::Delivered, 1).await;
}

#[tokio::test]
async fn a_messenger_without_the_handler_leaves_its_questions_to_others() {
    let world = World::new().await;
    let without = world.messenger().await;
    died(&world, world.elsewhere().builder().check_back("by hand", ask), "by hand", 1).await;
    a_lease_has_passed(&world, &without).await;
    let half = without.admin().list(MessageState::Half, None, 2).await.expect("lists").remove(0);
    assert_eq!((half.answered_by.as_str(), half.attempts), ("handler:by hand", 0));
    assert!(world.oracle.questions().is_empty());

    let oracle = ScriptedHandler::default();
    oracle.say(1, [Reply::Confirm]);
    let with = world.builder().data(oracle.clone()).check_back("by hand", ask).consumer(world.consumer());
    let with = World::start(with).await;
    world.settled(&with).await;
    assert_eq!(oracle.asked(1).len(), 1);
    assert_eq!(oracle.asked(1)[0].attempt, 1, "only questions that reached a handler count");
    assert_eq!(world.listener.orders(), [1, 999]);
}

#[tokio::test]
async fn a_handler_answers_for_its_old_name() {
    let world = World::new().await;
    died(&world, world.elsewhere().builder().check_back("old", ask), "old", 1).await;
    world.oracle.say(1, [Reply::Confirm]);
    let renamed = world.builder().check_back("new", ask).alias("old", "new").consumer(world.consumer());
    let renamed = World::start(renamed).await;
    world.settled(&renamed).await;
    assert_eq!(world.listener.orders(), [1]);
    let message = renamed.admin().list(MessageState::Delivered, None, 1).await.expect("lists").remove(0);
    assert_eq!(message.answered_by, "handler:old");
}

#[tokio::test]
async fn a_process_that_dies_is_taken_over_by_the_one_that_is_left() {
    let world = World::new().await;
    let left = world.messenger().await;
    for id in 0..3 {
        world
            .oracle
            .say(id, [[Reply::Confirm, Reply::Cancel, Reply::Unknown][usize::try_from(id).expect("small")]]);
    }
    let (reached, mut wait) = tokio::sync::mpsc::channel(3);
    let builder = world.elsewhere().builder();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        join_all((0..3).map(|id| {
            let (messenger, reached) = (messenger.clone(), reached.clone());
            async move {
                let body = async {
                    reached.send(()).await.expect("waits");
                    std::future::pending::<Result<(), ShopError>>().await
                };
                messenger.scope(async { handled(&order(id), body).await }).await
            }
        }))
        .await;
    });
    for _ in 0..3 {
        wait.recv().await.expect("gets there");
    }
    process.kill().await;
    world.count(&left, MessageState::Cancelled, 1).await;
    world.count(&left, MessageState::Delivered, 1).await;
    wait_until("the third to be asked about again and again", async || world.oracle.asked(2).len() > 2).await;
    world.oracle.say(2, [Reply::Confirm]);
    world.settled(&left).await;
    assert_eq!(world.listener.orders(), [0, 2]);
    // What a dead process has sent may still be in flight: it is not asked about at once.
    for question in world.oracle.questions() {
        assert!(question.age >= it::fast().check_after, "{question:?}");
    }
}

#[tokio::test]
async fn confirmed_messages_of_a_dead_process_are_delivered_by_the_one_that_is_left() {
    let world = World::new().await;
    let builder = world.elsewhere().builder();
    let (done, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        // Without a consumer, what it confirms stays with it.
        let messenger = World::start(builder).await;
        for id in 0..20 {
            let body = async { Ok(()) };
            let ended: Result<(), ShopError> =
                messenger.scope(async { handled(&order(id), body).await }).await;
            ended.expect("ok");
        }
        let confirmed = async || counted(&messenger).await.is_some_and(|stats| stats.confirmed == 20);
        wait_until("the confirms", confirmed).await;
        done.send(()).expect("waits");
        std::future::pending::<()>().await;
    });
    wait.await.expect("gets there");
    process.kill().await;
    let left = world.messenger().await;
    world.settled(&left).await;
    assert_eq!(world.effects_of_orders().await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_messengers_may_migrate_and_start_at_once() {
    let world = World::new().await;
    let messengers = join_all((0..6).map(|_| world.messenger())).await;
    join_all(
        messengers.iter().zip(0..).map(async |(messenger, id)| world.pay(messenger, id).await.expect("ok")),
    )
    .await;
    world.settled(&messengers[0]).await;
    assert_eq!(world.effects_of_orders().await, (0..6).collect::<Vec<_>>());
    for messenger in &messengers {
        assert!(messenger.shutdown(Duration::from_secs(30)).await);
    }
}

#[tokio::test]
async fn processes_may_start_at_once_on_a_new_store() {
    let world = World::new().await;
    for store in 0..25 {
        let name = format!("new_{store}");
        world.place.create(&[&name]).await;
        let together = Arc::new(Barrier::new(6));
        let processes: Vec<_> = (0..6)
            .map(|_| {
                let (world, name) = (world.elsewhere(), name.clone());
                let together = Arc::clone(&together);
                Process::start(move || async move {
                    together.wait();
                    let messenger = World::start(world.builder_on(&name)).await;
                    assert!(messenger.shutdown(Duration::from_secs(30)).await);
                })
            })
            .collect();
        for process in processes {
            process.join().await;
        }
    }
}

#[tokio::test]
async fn a_messenger_may_migrate_and_start_while_a_business_transaction_is_open() {
    let world = World::new().await;
    let first = world.messenger().await;
    let mut tx = world.shop.begin().await.expect("begins");
    Db::run(&mut tx, "INSERT INTO orders (id) VALUES (1)").await.expect("inserts");
    let second = world.builder().build().await.expect("builds");
    second.migrate().await.expect("the tables are there: nothing is to be written");
    second.start().await.expect("starts");
    tx.commit().await.expect("commits");
    world.pay(&second, 2).await.expect("ok");
    world.settled(&first).await;
    assert_eq!(world.effects_of_orders().await, [2]);
}
