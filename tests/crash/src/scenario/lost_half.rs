//! A body commits, and returns an error all the same. At that moment the store fails over, to a replica that never had
//! the half: the message goes out all the same.

use std::time::Duration;

use transactional_message::Message;

use super::{messenger, wait};
use crate::books::Comparison;
use crate::history;
use crate::place::Place;
use crate::service::{self, ActionError, Call, Shop};

/// How long the store is away. This sets the pace, and waits for nothing: the checker finds the outage in milliseconds,
/// and should it be slower, it asks later and the scenario still has to pass.
const AWAY: Duration = Duration::from_secs(1);

pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let messenger = messenger(place, "#").await?;
    let store = place.store().await?;
    let shop = Shop { db: place.business().await?, exchange: place.exchange() };
    let call = Call::plain(&mut fastrand::Rng::with_seed(0));
    let body = async {
        service::act(&shop, &call).await?;
        store.run("DELETE FROM tm_message").await.map_err(|_| ActionError::Refused)?;
        store.run("ALTER TABLE tm_message RENAME TO away").await.map_err(|_| ActionError::Refused)?;
        Err::<(), _>(ActionError::Late)
    };
    let message = Message::json(place.exchange(), "fenced", &call.message(0))?;
    let ended =
        messenger.call(transactional_message::Call::new("lost half").fence().message(message), body).await;
    anyhow::ensure!(matches!(ended, Err(ActionError::Late)), "the caller was told {ended:?}");
    tokio::time::sleep(AWAY).await;
    store.run("ALTER TABLE away RENAME TO tm_message").await?;
    wait("the message of what took effect, whose half is gone", async || {
        Ok(messenger.stats().await?.delivered == 1)
    })
    .await?;
    // Nobody looks at how it got there: it was stored anew, confirmed.
    history::install(&store).await?;
    let comparison = Comparison::make(place).await?;
    anyhow::ensure!(comparison.agree(), "the books differ: {comparison}");
    Ok(())
}
