//! Bodies and handlers that move their session elsewhere: our statements know where the tables are.

use it::{Action, Dialect, Order, Place, fenced, order, run};
use transactional_message::testing::Recorder;
use transactional_message::{ErrorKind, MessageState, begin, call_id, withhold};

use crate::{Db, World};

/// With one connection, so that the next call gets the one that was moved.
#[tokio::test]
async fn a_body_that_moves_its_session_commits_and_spoils_no_later_call() {
    for lost in [false, true] {
        let world = World::with_connections(1).await;
        let recorder = Recorder::on_with(&world.shop, |builder| builder.data(world.oracle.clone()))
            .await
            .expect("recorder");
        recorder.lose_reports(lost);
        let call = async |id: u64, end: &str| {
            let body = async {
                let mut tx = begin(&world.shop).await?;
                run_in(&mut tx).await?;
                match end {
                    "amended" => tx.amend(&Order { id, note: "amended".into() })?,
                    "withheld" => withhold()?,
                    _ => {}
                }
                Ok(tx.commit().await?)
            };
            recorder.scope(fenced(&order(id), body)).await.unwrap_or_else(|error| panic!("{end}: {error}"));
        };
        for (id, end) in [(1, "as it is"), (2, "amended"), (3, "withheld"), (4, "as it is")] {
            call(id, end).await;
        }
        recorder.settle().await.expect("settles");
        let sent = recorder
            .sent()
            .into_iter()
            .map(|sent| sent.payload["id"].as_u64().zip(sent.payload["note"].as_str().map(str::to_owned)));
        let mut sent: Vec<_> = sent.flatten().collect();
        sent.sort_unstable();
        assert_eq!(sent, [(1, String::new()), (2, "amended".into()), (4, String::new())]);
    }
}

async fn run_in(tx: &mut it::Connection<Db>) -> Result<(), sqlx::Error> {
    Db::run(tx, Db::MOVES).await.map(drop)
}

/// What the row says that is there already is read on the moved connection, too.
#[tokio::test]
async fn a_moved_session_is_still_refused_by_a_tombstone() {
    let world = World::with_connections(1).await;
    let messenger = world.messenger().await;
    let moving = async {
        let mut tx = begin(&world.shop).await?;
        run_in(&mut tx).await?;
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), moving).await }).await.expect("committed");
    let body = async {
        let tombstone = format!("INSERT INTO tm_fence (call_id, outcome) VALUES ({}, 2)", Db::id(call_id()));
        run(&world.place.pool("shop", 1), tombstone).await?;
        Ok(begin(&world.shop).await.map(drop)?)
    };
    let refused = messenger.scope(async { fenced::<()>(&order(2), body).await }).await.expect_err("refused");
    assert_eq!(refused.message().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn a_handler_that_moves_its_session_has_its_effect_once() {
    let world = World::new().await;
    world.listener.will(1, [Action::Run(Db::MOVES)]);
    let messenger = world.messenger().await;
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.listener.heard().len(), 1, "it was not tried again");
    // On connections that nobody has moved.
    assert_eq!(world.elsewhere().effects_of_orders().await, [1]);
}
