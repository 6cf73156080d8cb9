//! One row that the store refuses delays none of its neighbours, and is found again.

use futures_util::future::join_all;
use it::{Action, Dialect, Log, Reply, counted, fast, number, run, wait_until};
use sqlx::Pool;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{MessageState, Messenger};

use crate::{Db, World};

/// Makes the store refuse to move the message of order 13 to a state, as a poison row does.
async fn refuse(world: &World, state: u8) -> Pool<Db> {
    let store = world.store();
    run(&store, Db::poison(state)).await.expect("creates");
    store
}

async fn allow(store: &Pool<Db>) {
    run(store, Db::ANTIDOTE).await.expect("drops");
}

async fn all_but_one_are(messenger: &Messenger, state: MessageState) {
    wait_until("the neighbours to be settled", async || {
        counted(messenger).await.is_some_and(|stats| stats.count(state) == 29)
    })
    .await;
}

#[tokio::test]
async fn a_confirm_that_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let store = refuse(&world, 1).await;
    world.oracle.say(13, [Reply::Confirm]);
    let ended = join_all((0..30).map(|id| world.handle(&messenger, id))).await;
    assert!(ended.iter().all(Result::is_ok), "the report is not the caller's affair");
    all_but_one_are(&messenger, MessageState::Delivered).await;
    assert_eq!(world.listener.heard_of(13), []);
    allow(&store).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fenced_confirm_that_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let store = refuse(&world, 1).await;
    let ended = join_all((0..30).map(|id| world.pay(&messenger, id))).await;
    assert!(ended.iter().all(Result::is_ok), "the report is not the caller's affair");
    all_but_one_are(&messenger, MessageState::Delivered).await;
    allow(&store).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cancel_that_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let store = refuse(&world, 2).await;
    for id in 0..30 {
        world.oracle.say(id, [Reply::Cancel]);
    }
    join_all((0..30).map(|id| world.vanish(&messenger, id))).await;
    all_but_one_are(&messenger, MessageState::Cancelled).await;
    allow(&store).await;
    world.count(&messenger, MessageState::Cancelled, 30).await;
    assert!(world.listener.heard().is_empty());
}

#[tokio::test]
async fn a_delivery_mark_that_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let store = refuse(&world, 3).await;
    join_all((0..30).map(|id| world.handle(&messenger, id))).await;
    all_but_one_are(&messenger, MessageState::Delivered).await;
    allow(&store).await;
    world.settled(&messenger).await;
    assert_eq!(
        world.effects_of_orders().await,
        (0..30).collect::<Vec<_>>(),
        "delivered again, with one effect"
    );
}

#[tokio::test]
async fn a_half_that_can_not_be_parked_is_not_said_to_be_parked() {
    let (log, _guard) = Log::listen(LevelFilter::WARN);
    let world = World::new().await;
    let messenger = World::start(world.builder().settings(fast().check_back_attempts(1))).await;
    let store = refuse(&world, 4).await;
    world.oracle.say(13, [Reply::Unknown]);
    world.vanish(&messenger, 13).await;
    wait_until("the store to refuse", async || !log.lines_with(&["poison"]).is_empty()).await;
    let parked = || log.lines_with(&["an operator must"]);
    assert_eq!(parked(), [] as [String; 0]);
    allow(&store).await;
    world.count(&messenger, MessageState::Parked, 1).await;
    wait_until("the log to tell", async || !parked().is_empty()).await;
    let id = messenger.admin().list(MessageState::Parked, None, 1).await.expect("lists").remove(0).id;
    assert!(parked().len() == 1 && parked()[0].contains(&id.to_string()), "{:?}", parked());
}

#[tokio::test]
async fn a_nul_character_in_an_error_is_no_poison() {
    let world = World::new().await;
    let settings = fast().check_back_attempts(2);
    let consumer = world.consumer().max_attempts(2);
    let messenger = World::start(world.builder().settings(settings).consumer(consumer)).await;
    for id in 0..10 {
        world.oracle.say(id, [if id == 3 { Reply::Nul } else { Reply::Confirm }]);
        world.listener.will(id, [if id == 4 { Action::Nul } else { Action::Write }]);
    }
    join_all((0..10).map(|id| world.vanish(&messenger, id))).await;
    world.count(&messenger, MessageState::Delivered, 8).await;
    for (state, part) in
        [(MessageState::Parked, "the oracle\u{fffd}is asleep"), (MessageState::Dead, "no\u{fffd}ink")]
    {
        world.count(&messenger, state, 1).await;
        let message = messenger.admin().list(state, None, 2).await.expect("lists").remove(0);
        let reason = message.reason.expect("a reason");
        assert!(reason.contains(part), "{reason}");
    }
}

/// Waits until the leases of all halves were renewed since: they outlast what would have lapsed.
async fn all_are_renewed(store: &Pool<Db>) {
    let due = async |which: &str| {
        number(store, format!("SELECT {which}(due_at) FROM tm_message WHERE state = 0")).await
    };
    let latest = due("max").await;
    wait_until("every lease to be renewed", async || due("min").await > latest).await;
}

/// What a pooler or a cluster says for a while is about no row, and not the last word.
#[tokio::test]
async fn errors_that_are_not_known_are_waited_out_and_no_handler_has_to_know() {
    for error in Db::STRANGE {
        let world = World::new().await;
        // Some are confirmed for the relay in memory, and some for anybody.
        let messenger = world.messenger_with(fast().relay_queue(8)).await;
        let store = world.store();
        run(&store, Db::trouble(1, error)).await.expect("creates");
        let ended = join_all((0..30).map(|id| world.handle(&messenger, id))).await;
        assert!(ended.iter().all(Result::is_ok), "{error}: the report is not the caller's affair");
        for _ in 0..3 {
            all_are_renewed(&store).await;
        }
        assert_eq!(messenger.stats().await.expect("counts").half, 30, "{error}");
        allow(&store).await;
        world.settled(&messenger).await;
        assert_eq!(world.listener.orders(), (0..30).collect::<Vec<_>>(), "{error}");
        assert_eq!(world.oracle.questions(), [], "{error}");
    }
}

/// What a handler has answered is not asked again when the store fails over it.
#[tokio::test]
async fn an_answer_that_the_store_fails_over_is_brought_to_it_again() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let store = world.store();
    run(&store, Db::trouble(2, Db::STRANGE[0])).await.expect("creates");
    for id in 0..5 {
        world.oracle.say(id, [Reply::Cancel]);
        world.vanish(&messenger, id).await;
    }
    wait_until("the questions", async || world.oracle.questions().len() == 5).await;
    world.oracle.say(5, [Reply::Confirm]);
    world.vanish(&messenger, 5).await;
    world.count(&messenger, MessageState::Delivered, 1).await;
    allow(&store).await;
    world.count(&messenger, MessageState::Cancelled, 5).await;
    assert_eq!(world.oracle.questions().len(), 6);
}
