//! A store that was restored from a backup while a body ran: its half message is gone.

use it::AnsweredBy;
use it::ScriptedHandler;
use serde_json::json;
use sqlx::SqlitePool;
use transactional_message::testing::Recorder;
use transactional_message::{
    Error, HalfMessage, Message, MessageState, MessengerBuilder, Outcome, RawPayload, begin,
};

fn message() -> Message {
    Message::json("shop", "paid", &json!({ "order": 1 })).expect("encodes")
}

/// A recorder whose handler `on.ly` always confirms.
async fn recorder() -> Recorder {
    let confirm = |_: HalfMessage<RawPayload>| async { Ok::<_, String>(Outcome::Confirm) };
    let configure =
        |builder: MessengerBuilder| builder.data(ScriptedHandler::default()).check_back("on.ly", confirm);
    Recorder::with(configure).await.expect("works")
}

async fn restore(db: &SqlitePool) {
    sqlx::query("DELETE FROM tm_message").execute(db).await.expect("deletes");
}

/// A fence that gives no answer.
async fn rename(db: &SqlitePool, statement: &'static str) {
    sqlx::query(statement).execute(db).await.expect("renames");
}

/// The commit is proven to nobody, and the fence gives no answer when its process asks first.
#[tokio::test]
async fn a_fenced_half_that_is_gone_and_has_no_answer_yet_is_stored_again() {
    let recorder = recorder().await;
    let db = recorder.pool();
    let body = async {
        let tx = begin(db).await?;
        tx.commit().await?;
        restore(db).await;
        Err::<(), Error>(begin(db).await.expect_err("one transaction for each call"))
    };
    let call = recorder.messenger().call(it::call(AnsweredBy::Fence, [message()]), body).await;
    call.expect_err("the body's own");
    rename(db, "ALTER TABLE tm_fence RENAME TO tm_fence_away").await;
    recorder.settle().await.expect("settles what it can");
    assert_eq!(recorder.messenger().stats().await.expect("counts").count(MessageState::Half), 1);
    rename(db, "ALTER TABLE tm_fence_away RENAME TO tm_fence").await;
    recorder.settle().await.expect("settles");
    recorder.assert_sent(&[("shop", "paid", json!({ "order": 1 }))]);
}

/// The body vanishes, so that only its handler can tell; later.
#[tokio::test]
async fn a_half_with_a_handler_that_is_gone_is_stored_again() {
    let recorder = recorder().await;
    let db = recorder.pool();
    let (restored, wait) = tokio::sync::oneshot::channel();
    let body = async {
        restore(db).await;
        restored.send(()).expect("waits");
        std::future::pending::<Result<(), Error>>().await
    };
    let call = recorder.messenger().call(it::call(AnsweredBy::Handler("on.ly".into()), [message()]), body);
    // Its caller leaves.
    tokio::select! {
        ended = call => panic!("{ended:?}"),
        restored = wait => restored.expect("restores"),
    }
    recorder.settle().await.expect("settles");
    recorder.assert_sent(&[("shop", "paid", json!({ "order": 1 }))]);
}
