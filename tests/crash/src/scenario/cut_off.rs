//! The store does not answer in the middle of a transaction, until the operation is given up. Its
//! connection must not be used again: what is done there next would not be committed, or fail, where the
//! server has closed it meanwhile, as MariaDB does.

use std::time::Duration;

use services::proxy::{Proxy, Trick};
use transactional_message::{Backoff, Call, CallId, Message, Messenger, Settings, call_id};
use uuid::Uuid;

use super::wait;
use crate::database::{Database, with_pool};
use crate::place::Place;
use crate::service::{ActionError, HANDLER};

/// What a confirm of several messages begins with.
const MARKER: &str = "BEGIN";
/// What the store allows an operation, and more than it allows itself connections.
const STORE_PATIENCE: Duration = Duration::from_millis(5200);
const CONNECTIONS: usize = 8;
const NEVER: Duration = Duration::from_hours(1);

/// Nothing happens by itself: no other operation ends the transaction that is left open.
fn settings() -> Settings {
    Settings::default()
        .lease(NEVER)
        .poll_interval(NEVER)
        .janitor_interval(NEVER)
        // The next operation shall not be the repetition of the one that was given up.
        .report_backoff(Backoff::new(NEVER, NEVER))
        .deliver(false)
}

pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let store = place.store().await?;
    let proxy = Proxy::new(&place.address()?, true).await?;
    let through_proxy = place.store_by(proxy.address()).await?;
    let business = place.business().await?;
    let builder = Messenger::builder(&through_proxy).settings(settings()).data(business);
    let messenger = builder.build().await?;
    messenger.migrate().await?;
    messenger.start().await?;

    let first = call(&messenger, 1, || ()).await?;
    wait("the first confirm", async || Ok(state(&store, first).await? == Some(1))).await?;
    // From the body: its half messages are stored.
    let second = call(&messenger, 2, || proxy.play(MARKER, Trick::KeepReply)).await?;
    wait("the second confirm to be held up", async || Ok(proxy.was_played())).await?;
    // Nothing outside shows when it is given up.
    tokio::time::sleep(STORE_PATIENCE).await;
    proxy.release();
    // One on each connection of the pool.
    for _ in 0..CONNECTIONS {
        let next = call(&messenger, 1, || ()).await?;
        anyhow::ensure!(
            state(&store, next).await?.is_some(),
            "a half message was reported as stored, and is not there: its connection was in a transaction"
        );
    }
    anyhow::ensure!(state(&store, second).await? == Some(0), "the second confirm was to be given up");
    Ok(())
}

async fn call(
    messenger: &Messenger,
    messages: usize,
    in_body: impl FnOnce() + Send,
) -> anyhow::Result<CallId> {
    let message = Message::json("shop", "order", &Uuid::nil())?;
    let body = async {
        in_body();
        Ok::<_, ActionError>(call_id())
    };
    let call =
        (0..messages).fold(Call::new(HANDLER), |call, _| call.message(message.clone()).check_back(HANDLER));
    Ok(messenger.call(call, body).await?)
}

/// As others see it.
async fn state(store: &Database, id: CallId) -> anyhow::Result<Option<i64>> {
    let select = store.sql("SELECT state FROM tm_message WHERE id = ?");
    with_pool!(store, pool => Ok(sqlx::query_scalar(select).bind(id).fetch_optional(pool).await?))
}
