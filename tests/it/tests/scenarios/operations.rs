//! Decisions about many messages: a few first, stoppable by anyone, and none twice.

use std::time::Duration;

use it::{answered, fast, run, wait_until};
use transactional_message::{
    Action, Actor, AuditFilter, ErrorKind, Filter, MessageId, MessageState, Messenger, Operation, Order,
    Progress,
};

use crate::World;

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

/// Dead messages, since nobody takes them.
async fn dead(world: &World, count: u64) -> (Messenger, Vec<MessageId>) {
    let settings = fast().delivery_attempts(1);
    let messenger = World::start(world.builder().settings(settings)).await;
    for id in 1..=count {
        world.pay(&messenger, id).await.expect("ok");
    }
    world.count(&messenger, MessageState::Dead, count).await;
    let page =
        messenger.admin().search(&Filter::from(MessageState::Dead), None, 1000).await.expect("searches");
    (messenger, page.messages.into_iter().map(|message| message.id).collect())
}

/// The id of no message.
fn nobody() -> MessageId {
    MessageId::from_uuid(uuid::Uuid::now_v7())
}

fn retry(messages: Vec<MessageId>) -> Order {
    let order = Order::new(Action::Retry, messages, "the consumer is back");
    order.begins_in(Duration::ZERO).look_for(Duration::from_millis(50)).per_second(10_000)
}

/// Sees to it that it is carried out, and says how it ended: the messenger's own worker may take it up first.
async fn carried_out(messenger: &Messenger, id: uuid::Uuid) -> Operation {
    let mut operation = messenger.admin().carry_out(id).await.expect("is carried out");
    wait_until("the operation to be over", async || {
        let Some(now) = answered(messenger.admin().operation(id).await) else { return false };
        operation = now.expect("there");
        matches!(operation.progress, Progress::Done | Progress::Stopped)
    })
    .await;
    operation
}

#[tokio::test]
async fn an_operation_is_carried_out_in_the_name_of_whoever_ordered_it() {
    let world = World::new().await;
    let (messenger, ids) = dead(&world, 12).await;
    assert!(messenger.shutdown(HOUR).await);
    let messenger = world.messenger().await;
    let ana = Actor::new("ana@desk", "test");
    // Twice the same is once.
    let twice = ids.iter().chain(&ids).copied().collect();
    let order = retry(twice).conditions("state=dead").begins_in(3 * SECOND);
    let id = messenger.admin().by(&ana).order(&order).await.expect("orders");
    let waits = messenger.admin().operation(id).await.expect("reads").expect("there");
    assert_eq!((waits.progress, waits.messages, waits.done), (Progress::Waiting, 12, 0));
    let ended = carried_out(&messenger, id).await;
    assert_eq!((ended.progress, ended.done, ended.failures()), (Progress::Done, 12, 0));
    assert!(ended.ended_at >= Some(ended.begins_at) && ended.begins_at >= ended.created_at + 3 * SECOND);
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders().len(), 12);

    let records = messenger.admin().audit(&AuditFilter::default(), 100).await.expect("reads");
    assert_eq!(records.len(), 12);
    for record in records {
        assert!(record.message_id.is_some_and(|message| ids.contains(&message)));
        assert_eq!(
            (record.action.as_str(), record.user.as_str(), record.via.as_str()),
            ("retry", "ana@desk", "test")
        );
        assert_eq!(record.subject, Some(format!("operation:{id}")));
    }
    // It is over.
    assert!(!messenger.admin().stop_operation(id, "too late").await.expect("answers"));
    let again = messenger.admin().carry_out(id).await.expect("is over");
    assert_eq!(again, ended);
    let nowhere = messenger.admin().carry_out(nobody().as_uuid()).await.expect_err("is not there");
    assert_eq!(nowhere.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn an_operation_can_be_stopped_before_it_begins_and_in_the_middle() {
    let world = World::new().await;
    let (messenger, ids) = dead(&world, 12).await;
    let admin = messenger.admin();
    let id = admin.order(&retry(ids.clone()).begins_in(HOUR)).await.expect("orders");
    assert!(admin.stop_operation(id, "a slip of the pen").await.expect("stops"));
    let stopped = admin.carry_out(id).await.expect("reads");
    assert_eq!((stopped.progress, stopped.done), (Progress::Stopped, 0));
    assert_eq!(stopped.stopped.as_deref(), Some("by default (code): a slip of the pen"));
    assert!(admin.audit(&AuditFilter::default(), 9).await.expect("reads").is_empty());

    let id = admin.order(&retry(ids).look_for(HOUR).stop_after_failures(100)).await.expect("orders");
    let stop = async {
        wait_until("the first one", async || {
            answered(admin.operation(id).await).flatten().is_some_and(|operation| operation.done > 0)
        })
        .await;
        assert!(admin.stop_operation(id, "look at the first one").await.expect("stops"));
    };
    let (stopped, ()) = tokio::join!(carried_out(&messenger, id), stop);
    assert_eq!((stopped.progress, stopped.done), (Progress::Stopped, 1));
}

#[tokio::test]
async fn an_operation_stops_by_itself_where_what_it_revives_is_failed_again() {
    let world = World::new().await;
    let (messenger, ids) = dead(&world, 12).await;
    let order = retry(ids).look_for(3 * SECOND).stop_after_failures(0);
    let id = messenger.admin().order(&order).await.expect("orders");
    let stopped = carried_out(&messenger, id).await;
    // As soon as it is known: on a slow machine perhaps only with the next look.
    assert!(stopped.progress == Progress::Stopped && [1, 11].contains(&stopped.done), "{stopped:?}");
    assert!(stopped.failed_again > 0, "{stopped:?}");
    let why = stopped.stopped.expect("is said");
    assert!(why.starts_with("by itself: ") && why.contains("0 refused, 0 failed"), "{why}");

    // What is refused counts, too: nothing is parked here.
    let parked = Order::new(Action::Cancel, vec![nobody(), nobody()], "never mind");
    let id = messenger
        .admin()
        .order(&parked.begins_in(Duration::ZERO).stop_after_failures(0))
        .await
        .expect("orders");
    let stopped = carried_out(&messenger, id).await;
    assert_eq!((stopped.progress, stopped.refused), (Progress::Stopped, 1));
    let items = messenger.admin().operation_items(id, 0, 9).await.expect("reads");
    assert!(items[0].why.as_ref().is_some_and(|why| why.contains("there is no message")), "{items:?}");
    assert_eq!(items[1].outcome, None);
}

/// Carries out the first message of an operation, and is gone while it waits to see what came of it.
async fn is_cut_off_after_the_first(tool: &Messenger, id: uuid::Uuid) {
    let first = wait_until("the first one", async || {
        answered(tool.admin().operation(id).await).flatten().is_some_and(|operation| operation.done > 0)
    });
    tokio::select! {
        ended = tool.admin().carry_out(id) => panic!("{ended:?}"),
        () = first => {}
    }
}

/// Half a minute later; and nobody waits for an hour.
async fn lapses(world: &World) {
    let about = "UPDATE tm_operation SET held_until = 1, about = REPLACE(about, '3600000', '0')";
    run(&world.store(), about).await.expect("lapses");
}

#[tokio::test]
async fn another_process_goes_on_where_one_was_cut_off() {
    let world = World::new().await;
    let (messenger, ids) = dead(&world, 12).await;
    assert!(messenger.shutdown(HOUR).await);
    let tool = world.builder().build().await.expect("builds");
    let id = tool.admin().order(&retry(ids).look_for(HOUR)).await.expect("orders");
    is_cut_off_after_the_first(&tool, id).await;
    // The decision was taken, and the way back to the operation was lost.
    run(&world.store(), "UPDATE tm_operation_item SET outcome = NULL").await.expect("forgets");
    lapses(&world).await;
    let messenger = world.messenger().await;
    wait_until("somebody to go on", async || {
        let operation = answered(messenger.admin().operation(id).await).flatten();
        operation.is_some_and(|operation| operation.progress == Progress::Done)
    })
    .await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders().len(), 12);
    let records = messenger.admin().audit(&AuditFilter::default(), 100).await.expect("reads");
    assert_eq!(records.len(), 12, "each is decided once");
}

/// What the first ones showed counts, whoever saw it.
#[tokio::test]
async fn whoever_goes_on_looks_at_the_first_ones_before_the_next() {
    let world = World::new().await;
    let (messenger, ids) = dead(&world, 3).await;
    assert!(messenger.shutdown(HOUR).await);
    let tool = world.builder().build().await.expect("builds");
    let order = retry(ids).look_for(HOUR).stop_after_failures(0);
    let id = tool.admin().order(&order).await.expect("orders");
    is_cut_off_after_the_first(&tool, id).await;
    let messenger = World::start(world.builder().settings(fast().delivery_attempts(1))).await;
    world.count(&messenger, MessageState::Dead, 3).await;
    lapses(&world).await;
    let over = carried_out(&messenger, id).await;
    assert_eq!((over.progress, over.done, over.failed_again), (Progress::Stopped, 1, 1), "{over:?}");
}
