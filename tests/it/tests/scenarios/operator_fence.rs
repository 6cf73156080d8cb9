//! A person's word about a fenced message keeps to what its fence says.

use std::time::Duration;

use it::{Order, Process, fast, fenced, gate, order};
use transactional_message::{ErrorKind, MessageId, MessageState, Messenger, begin};

use super::operator::{newest, refused};

use crate::World;

/// A fenced call of a process that died, parked because nobody asked in time.
pub(crate) async fn parked_with_a_fence(world: &World, committed: bool) -> (Messenger, MessageId) {
    let elsewhere = world.elsewhere();
    let (builder, shop) = (elsewhere.builder(), elsewhere.shop);
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start_to_stand_still(builder).await;
        let body = async {
            if committed {
                let mut tx = begin(&shop).await?;
                World::write(&mut tx, 1).await?;
                tx.amend(&Order { note: "amended".into(), ..order(1) })?;
                tx.commit().await?;
            }
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), _> = messenger.scope(async { fenced(&order(1), body).await }).await;
    });
    wait.await.expect("gets there");
    process.kill().await;
    let settings = fast().check_back_horizon(Duration::from_millis(1));
    let messenger = world.messenger_with(settings).await;
    let id = newest(&messenger, MessageState::Parked).await;
    let reason = messenger.admin().find(id).await.expect("finds").expect("there").reason.expect("a reason");
    assert!(reason.contains("older than the setting `check_back_horizon`"), "{reason}");
    assert_eq!(world.fences(2).await, 0, "a half that old is not asked about");
    (messenger, id)
}

#[tokio::test]
async fn confirming_a_fenced_message_by_hand_reads_its_fence() {
    let world = World::new().await;
    let (messenger, id) = parked_with_a_fence(&world, true).await;
    refused(
        messenger.admin().cancel(id, "test").await,
        "its fence says that the business action took effect",
    );
    messenger.admin().confirm(id, "test").await.expect("the fence says so");
    world.settled(&messenger).await;
    assert!(world.listener.heard_of(1)[0].body.contains("amended"), "the payload is that of the fence");
    assert_eq!(world.effects(id).await, 1);
}

#[tokio::test]
async fn a_fenced_message_without_effect_can_only_be_cancelled_by_hand() {
    let world = World::new().await;
    let (messenger, id) = parked_with_a_fence(&world, false).await;
    refused(
        messenger.admin().confirm(id, "test").await,
        "its fence has no row, so no transaction of it has committed",
    );
    messenger.admin().cancel(id, "test").await.expect("the fence says so");
    assert_eq!(
        messenger.admin().find(id).await.expect("finds").expect("there").state,
        MessageState::Cancelled
    );
    assert_eq!(world.fences(2).await, 1, "and is closed");
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn a_message_whose_function_forgot_begin_is_a_persons_to_decide() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for confirmed in [true, false] {
        messenger.scope(async { fenced(&order(1), async { Ok(()) }).await }).await.expect("ok");
        let id = newest(&messenger, MessageState::Parked).await;
        assert_eq!(messenger.admin().find(id).await.expect("finds").expect("there").answered_by, "nobody");
        if confirmed {
            messenger.admin().confirm(id, "looked it up").await.expect("confirms");
            world.settled(&messenger).await;
            assert_eq!(world.effects(id).await, 1);
        } else {
            messenger.admin().cancel(id, "looked it up").await.expect("cancels");
            assert_eq!(
                messenger.admin().find(id).await.expect("finds").expect("there").state,
                MessageState::Cancelled
            );
        }
    }
    assert_eq!(world.listener.orders(), [1]);
}

#[tokio::test]
async fn cancelling_by_hand_closes_the_fence_for_a_body_that_comes_back() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let (builder, shop) = (elsewhere.builder(), elsewhere.shop);
    let (go_on, gate) = gate();
    let process = Process::start(move || async move {
        let messenger = World::start_to_stand_still(builder).await;
        let body = async {
            gate.wait();
            let mut tx = begin(&shop).await?;
            World::write(&mut tx, 1).await?;
            Ok(tx.commit().await?)
        };
        let ended = messenger.scope(async { fenced(&order(1), body).await }).await;
        assert_eq!(ended.expect_err("closed").message().kind(), ErrorKind::Fenced);
        assert!(messenger.shutdown(Duration::from_secs(30)).await);
    });
    let settings = fast().check_back_horizon(Duration::from_millis(1));
    let messenger = world.messenger_with(settings).await;
    let id = newest(&messenger, MessageState::Parked).await;
    messenger.admin().cancel(id, "test").await.expect("cancels");
    go_on.send(()).expect("goes on");
    process.join().await;
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [] as [u64; 0]);
    assert_eq!(messenger.stats().await.expect("counts").cancelled, 1);
}
