//! What the transaction says about its message: another payload, or that there is nothing to send.

use it::{Dialect, Order, ShopError, fast, fenced, fenced_twice, order};
use serde_json::json;
use transactional_message::testing::Recorder;
use transactional_message::{ErrorKind, begin, withhold};

use crate::{Db, World};

fn amended(id: u64) -> Order {
    Order { id, note: "amended".into() }
}

/// On the test's own business database, with what all handlers need.
async fn recorder(world: &World) -> Recorder<Db> {
    Recorder::on_with(&world.shop, |builder| builder.data(world.oracle.clone()).settings(fast()))
        .await
        .expect("a recorder")
}

#[tokio::test]
async fn an_amended_payload_is_sent_instead_of_the_first_one() {
    for lost in [false, true] {
        let world = World::new().await;
        let recorder = recorder(&world).await;
        recorder.lose_reports(lost);
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, 1).await?;
            tx.amend(&order(1))?;
            tx.amend(&amended(1))?;
            Ok(tx.commit().await?)
        };
        recorder.scope(fenced(&order(1), body)).await.expect("committed");
        recorder.settle().await.expect("settles");
        recorder.assert_sent(&[("shop", "order.fenced", json!({ "id": 1, "note": "amended" }))]);
    }
}

#[tokio::test]
async fn what_a_rolled_back_transaction_amended_is_forgotten() {
    for lost in [false, true] {
        let world = World::new().await;
        let recorder = recorder(&world).await;
        recorder.lose_reports(lost);
        let body = async {
            let mut tx = begin(&world.shop).await?;
            tx.amend(&amended(1))?;
            tx.rollback().await?;
            let tx = begin(&world.shop).await?;
            Ok(tx.commit().await?)
        };
        recorder.scope(fenced(&order(1), body)).await.expect("committed");
        recorder.settle().await.expect("settles");
        recorder.assert_sent(&[("shop", "order.fenced", json!({ "id": 1, "note": "" }))]);
    }
}

#[tokio::test]
async fn an_amended_message_that_was_not_committed_is_not_sent() {
    let world = World::new().await;
    let recorder = recorder(&world).await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.amend(&amended(1))?;
        Err(ShopError::Declined)
    };
    recorder.scope(fenced::<()>(&order(1), body)).await.expect_err("declined");
    recorder.settle().await.expect("settles");
    recorder.assert_sent(&[]);
    assert_eq!(world.fences(2).await, 1);
}

#[tokio::test]
async fn an_amended_payload_must_keep_the_limits_and_the_transaction_goes_on_without_it() {
    let world = World::new().await;
    let settings = fast().body_limit(64);
    let recorder =
        Recorder::on_with(&world.shop, |builder| builder.data(world.oracle.clone()).settings(settings))
            .await
            .expect("a recorder");
    let body = async {
        let mut tx = begin(&world.shop).await?;
        let error = tx.amend(&Order { id: 1, note: "x".repeat(100) }).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::InvalidMessage);
        assert!(error.body_ran());
        assert!(error.to_string().contains("`body_limit`"), "{error}");
        Ok(tx.commit().await?)
    };
    recorder.scope(fenced(&order(1), body)).await.expect("committed");
    recorder.settle().await.expect("settles");
    recorder.assert_sent(&[("shop", "order.fenced", json!({ "id": 1, "note": "" }))]);
}

#[tokio::test]
async fn of_two_messages_none_can_be_amended() {
    let world = World::new().await;
    let recorder = recorder(&world).await;
    let body = async {
        let mut tx = begin(&world.shop).await?;
        let error = tx.amend(&amended(1)).expect_err("which one?");
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(error.to_string().contains("whose attribute has 2 messages"), "{error}");
        Ok(tx.commit().await?)
    };
    recorder.scope(fenced_twice(&order(1), body)).await.expect("committed");
    recorder.settle().await.expect("settles");
    assert_eq!(recorder.sent().len(), 2);
}

#[tokio::test]
async fn a_message_withheld_before_the_commit_is_never_sent() {
    for lost in [false, true] {
        let world = World::new().await;
        let recorder = recorder(&world).await;
        recorder.lose_reports(lost);
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, 1).await?;
            withhold()?;
            Ok(tx.commit().await?)
        };
        recorder.scope(fenced(&order(1), body)).await.expect("committed");
        recorder.settle().await.expect("settles");
        recorder.assert_sent(&[]);
        assert_eq!(world.orders().await, [1], "the business action took effect");
        assert_eq!(world.fences(3).await, 1, "withheld");
        assert_eq!(recorder.messenger().stats().await.expect("counts").cancelled, 1);
    }
}

#[tokio::test]
async fn a_message_withheld_in_an_amended_transaction_is_never_sent() {
    let world = World::new().await;
    let recorder = recorder(&world).await;
    recorder.lose_reports(true);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        tx.amend(&amended(1))?;
        withhold()?;
        Ok(tx.commit().await?)
    };
    recorder.scope(fenced(&order(1), body)).await.expect("committed");
    recorder.settle().await.expect("settles");
    recorder.assert_sent(&[]);
}

/// How a first transaction ends that found nothing to send.
#[derive(Clone, Copy, Debug)]
enum First {
    RolledBack,
    Dropped,
    Refused,
}

#[tokio::test]
async fn what_a_rolled_back_transaction_withheld_is_sent_by_the_one_that_commits() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for (id, first) in [(1, First::RolledBack), (2, First::Dropped), (3, First::Refused)] {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            withhold()?;
            match first {
                First::RolledBack => tx.rollback().await?,
                First::Dropped => drop(tx),
                First::Refused => {
                    Db::run(&mut tx, Db::NO_FENCE[0]).await.expect("runs");
                    tx.commit().await.expect_err("is refused");
                }
            }
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(id), body).await }).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert_eq!(world.orders().await, [1, 2, 3]);
    assert_eq!(world.listener.orders(), [1, 2, 3]);
    assert_eq!((world.fences(1).await, world.fences(3).await), (3, 0));
}

#[tokio::test]
async fn what_is_withheld_outside_of_a_transaction_is_for_the_whole_call() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let body = async {
        withhold()?;
        begin(&world.shop).await?.rollback().await?;
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("ok");
    world.settled(&messenger).await;
    assert_eq!((world.orders().await, world.fences(3).await), (vec![1], 1));
    assert!(world.listener.orders().is_empty());
}

#[tokio::test]
async fn withholding_after_the_commit_is_an_error_and_comes_too_late() {
    for lost in [false, true] {
        let world = World::new().await;
        let recorder = recorder(&world).await;
        recorder.lose_reports(lost);
        let body = async {
            begin(&world.shop).await?.commit().await?;
            let error = withhold().expect_err("too late");
            assert_eq!(error.kind(), ErrorKind::Misuse);
            let text = error.to_string();
            assert!(text.contains("`withhold()` came after `commit` in `it::calls::fenced`"), "{text}");
            Ok(())
        };
        recorder.scope(fenced(&order(1), body)).await.expect("committed");
        recorder.settle().await.expect("settles");
        assert_eq!(recorder.sent().len(), 1);
    }
}

#[tokio::test]
async fn lost_reports_are_found_out_exactly() {
    let world = World::new().await;
    let recorder = recorder(&world).await;
    recorder.lose_reports(true);
    for id in 0..30 {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            World::write(&mut tx, id).await?;
            match id % 3 {
                0 => Ok(tx.commit().await?),
                1 => Ok(()),
                _ => Err(ShopError::Declined),
            }
        };
        _ = recorder.scope(fenced(&order(id), body)).await;
    }
    recorder.settle().await.expect("settles");
    let mut sent: Vec<_> = recorder.sent().iter().map(|sent| sent.payload["id"].as_u64()).collect();
    sent.sort_unstable();
    assert_eq!(sent, world.orders().await.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(sent.len(), 10);
    let stats = recorder.messenger().stats().await.expect("counts");
    assert_eq!((stats.cancelled, stats.half, stats.parked), (20, 0, 0));
}
