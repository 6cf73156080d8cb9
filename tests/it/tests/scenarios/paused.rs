//! What a person has paused waits, and nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use it::{Reply, answered, listed, order, wait_until};
use transactional_message::{
    Actor, AuditFilter, Cause, Choice, ErrorKind, Message, MessageState, Messenger, Next, Pausable, When,
};

use super::operator::newest;
use crate::World;

const HOUR: Duration = Duration::from_hours(1);

fn payments() -> Pausable {
    Pausable::Exchange("shop".into())
}

async fn pause(messenger: &Messenger, what: &Pausable, lasts: Duration) {
    let ana = Actor::new("ana@desk", "test");
    messenger.admin().by(&ana).pause(what, lasts, "the books are closed").await.expect("pauses");
}

async fn resume(messenger: &Messenger, what: &Pausable) {
    assert!(messenger.admin().resume(what, "they are open").await.expect("resumes"), "was paused");
}

/// Pays until a message waits: processes obey soon, but not at once. From then on all wait.
async fn is_obeyed(world: &World, messenger: &Messenger) {
    let ids = AtomicU64::new(world.listener.orders().iter().max().map_or(100, |id| id + 100));
    wait_until("it to be obeyed", async || {
        world.pay(messenger, ids.fetch_add(1, Ordering::Relaxed)).await.expect("calls go on");
        let confirmed = listed(messenger, MessageState::Confirmed, 9).await;
        confirmed.iter().flatten().any(|message| message.reason.is_some())
    })
    .await;
}

/// A message that is put off because of a pause.
async fn is_put_off(messenger: &Messenger, what: &Pausable) {
    let mark = format!("paused: {what}; ");
    wait_until("a message to be put off", async || {
        let confirmed = listed(messenger, MessageState::Confirmed, 9).await.unwrap_or_default();
        let is_put_off = |reason: &String| reason.starts_with(&mark);
        !confirmed.is_empty()
            && confirmed
                .iter()
                .all(|one| one.held_by.is_none() && one.reason.as_ref().is_some_and(is_put_off))
    })
    .await;
}

#[tokio::test]
async fn deliveries_to_an_exchange_wait_until_they_are_to_go_on() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    pause(&messenger, &payments(), HOUR).await;
    is_obeyed(&world, &messenger).await;
    is_put_off(&messenger, &payments()).await;
    let id = newest(&messenger, MessageState::Confirmed).await;
    wait_until("the process to announce itself", async || {
        answered(messenger.admin().processes().await).is_some_and(|processes| !processes.is_empty())
    })
    .await;
    let explanation = messenger.admin().explain(id).await.expect("explains");
    assert_eq!((explanation.because, explanation.next), (Cause::Paused, Next::Publish));
    assert_eq!(explanation.choices, [Choice::Nothing, Choice::Resume]);
    let ends_at = messenger.admin().pauses().await.expect("reads")[0].ends_at;
    // Until when it is put off was worked out by the clock of its process.
    let is_then = |time| (ends_at..ends_at + Duration::from_secs(1)).contains(&time);
    assert!(matches!(explanation.when, When::At(time) if is_then(time)), "{explanation:?}, {ends_at:?}");
    let history = messenger.admin().history(id).await.expect("reads");
    assert_eq!(history.len(), 1, "each pause is written once");
    assert!(history[0].reason.ends_with("the books are closed (ana@desk)"), "{history:?}");

    // Another process obeys from its start on. It goes on at the end of the pause, without being told.
    assert!(messenger.shutdown(HOUR).await);
    let before = world.listener.orders().len();
    let messenger = world.messenger().await;
    world.pay(&messenger, 2).await.expect("ok");
    is_put_off(&messenger, &payments()).await;
    assert_eq!(world.listener.orders().len(), before);
    let early = Pausable::Exchange("another".into());
    pause(&messenger, &early, HOUR).await;
    resume(&messenger, &payments()).await;
    world.settled(&messenger).await;
    assert!(world.listener.orders().contains(&2));
    assert!(!messenger.admin().resume(&payments(), "again").await.expect("is none"));

    let records = messenger.admin().audit(&AuditFilter::default(), 9).await.expect("reads");
    let actions: Vec<_> =
        records.iter().map(|record| (record.action.as_str(), record.user.as_str())).collect();
    assert_eq!(actions, [("resume", "default"), ("pause", "ana@desk"), ("pause", "ana@desk")]);
    assert_eq!(records[0].subject, Some(payments().to_string()));
}

#[tokio::test]
async fn a_pause_ends_by_itself_or_sooner_when_it_is_shortened() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for what in [payments(), Pausable::All] {
        pause(&messenger, &what, HOUR).await;
        let before = world.listener.orders().len();
        is_obeyed(&world, &messenger).await;
        is_put_off(&messenger, &what).await;
        pause(&messenger, &what, Duration::from_secs(1)).await;
        world.settled(&messenger).await;
        assert!(world.listener.orders().len() > before);
    }
    let forever =
        messenger.admin().pause(&Pausable::All, HOUR * 10_000, "for ever").await.expect_err("is refused");
    assert_eq!(forever.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn half_messages_are_not_asked_about_meanwhile() {
    let world = World::new().await;
    let tool = world.builder().build().await.expect("builds");
    tool.migrate().await.expect("migrates");
    pause(&tool, &Pausable::CheckBacks, HOUR).await;
    let messenger = world.messenger().await;
    world.oracle.say(1, [Reply::Confirm]);
    world.vanish(&messenger, 1).await;
    let id = newest(&messenger, MessageState::Half).await;
    wait_until("it to be due", async || {
        answered(messenger.admin().explain(id).await).is_some_and(|explanation| {
            explanation.because == Cause::Paused && explanation.next == Next::AskHandler
        })
    })
    .await;
    // Reports are no questions.
    world.pay(&messenger, 2).await.expect("ok");
    wait_until("the other one to be delivered", async || world.listener.orders() == [2]).await;
    assert_eq!(newest(&messenger, MessageState::Half).await, id);
    resume(&messenger, &Pausable::CheckBacks).await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1, 2]);
}

#[tokio::test]
async fn a_consumer_takes_no_more_and_another_exchange_goes_on() {
    let world = World::new().await;
    let books = Pausable::Queue("books".into());
    let other = World::another_listener("elsewhere");
    let builder = world.builder().consumer(world.consumer());
    let builder = builder.consumer(world.consumer_named("elsewhere", &other).bind("elsewhere", "#"));
    let messenger = World::start(builder).await;
    pause(&messenger, &books, HOUR).await;
    is_obeyed(&world, &messenger).await;
    is_put_off(&messenger, &books).await;
    let before = world.listener.orders();
    let elsewhere = Message::json("elsewhere", "order.paid", &order(7)).expect("encodes");
    it::send(&messenger, elsewhere).await;
    wait_until("the other consumer", async || other.orders().contains(&7)).await;
    assert_eq!(world.listener.orders(), before);
    resume(&messenger, &books).await;
    world.settled(&messenger).await;
    assert!(world.listener.orders().len() > before.len());
}
