//! What needs a person: brought about over the service's store, and decided.

use std::time::Duration;

use amqprs::BasicProperties;
use amqprs::channel::{BasicPublishArguments, Channel, QueuePurgeArguments};
use sqlx::{PgConnection, PgPool};
use transactional_message::{
    Call, Consumer, HalfMessage, Message, MessageState, Messenger, MessengerBuilder, Outcome, RawPayload,
    Received, Settings,
};

use crate::service::wait_until;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const HOUR: Duration = Duration::from_hours(1);
/// Of the year 1970: no consumer remembers so much.
const OLD_ID: &str = "00000000-0000-7000-8000-000000000001";

async fn ask(_: HalfMessage<RawPayload>) -> Result<Outcome, BoxError> {
    Ok(Outcome::Cancel)
}

async fn take(_: &mut PgConnection, _: Received) -> Result<(), BoxError> {
    Ok(())
}

/// Another service over the same store, which sends what it likes.
async fn returns(pool: &PgPool, consumer: Option<Consumer>) -> Messenger {
    let settings = Settings::default().delivery_attempts(1).check_after(HOUR);
    let builder = Messenger::builder(pool).service("returns").settings(settings).fence("payments", pool);
    let builder = consumer.into_iter().fold(builder.check_back("ship", ask), MessengerBuilder::consumer);
    let messenger = builder.build().await.expect("builds");
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");
    messenger
}

fn message() -> Message {
    Message::bytes("returns", "sent.back", "text/plain", "one")
}

/// One message is parked, one dead, one half, about which nobody asks, and one in the dead letters.
pub(crate) async fn happen(pool: &PgPool, queue: &str, channel: &Channel) {
    let messenger = returns(pool, None).await;
    // It never began a transaction.
    let forgot = Call::new("forgot").message(message()).fence();
    messenger.call(forgot, async { Ok::<(), BoxError>(()) }).await.expect("ok");
    // Nobody takes it.
    let sent = Call::new("send").message(message()).check_back("ship");
    messenger.call(sent, async { Ok::<(), BoxError>(()) }).await.expect("ok");
    // Its caller leaves.
    let (reached, wait) = tokio::sync::oneshot::channel();
    let left = Call::new("leave").message(message()).check_back("ship");
    let body = async {
        reached.send(()).expect("waits");
        std::future::pending::<Result<(), BoxError>>().await
    };
    tokio::select! {
        ended = messenger.call(left, body) => panic!("it hangs: {ended:?}"),
        reached = wait => reached.expect("gets there"),
    }
    for state in [MessageState::Parked, MessageState::Dead] {
        wait_until("a message to wait", async || {
            messenger.admin().list(state, None, 1).await.is_ok_and(|messages| messages.len() == 1)
        })
        .await;
    }
    assert!(messenger.shutdown(HOUR).await);
    let aged = "UPDATE tm_message SET due_at = due_at - 7200000 WHERE state = 0 AND service = 'returns'";
    sqlx::raw_sql(aged).execute(pool).await.expect("ages");
    let properties = BasicProperties::default().with_message_id(OLD_ID).finish();
    let to_the_queue = BasicPublishArguments::new("", queue);
    channel.basic_publish(properties, b"{}".to_vec(), to_the_queue).await.expect("publishes");
}

/// A person decides, and starts what was missing.
pub(crate) async fn are_mended(pool: &PgPool, queue: &str, channel: &Channel) {
    let consumer = Consumer::new("returns", pool.clone(), take).bind("returns", "#");
    let messenger = returns(pool, Some(consumer)).await;
    let admin = messenger.admin();
    let only = async |state| admin.list(state, None, 2).await.expect("lists").remove(0).id;
    admin.cancel(only(MessageState::Parked).await, "nothing was sent back").await.expect("cancels");
    admin.retry(only(MessageState::Dead).await, "somebody takes it").await.expect("retries");
    wait_until("nothing of it to wait", async || {
        let mut waiting = Vec::new();
        for state in [MessageState::Half, MessageState::Confirmed, MessageState::Parked, MessageState::Dead] {
            // On a busy machine, the database may not answer in time.
            let Ok(found) = admin.list(state, None, 1000).await else { return false };
            waiting.extend(found);
        }
        waiting.iter().all(|message| message.service != "returns")
    })
    .await;
    assert!(messenger.shutdown(HOUR).await);
    channel.queue_purge(QueuePurgeArguments::new(&format!("{queue}.dead"))).await.expect("purges");
}
