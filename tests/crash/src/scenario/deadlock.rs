//! The database answers a statement by rolling the whole transaction back. The body ignores that, and goes on writing:
//! nothing of it may take effect, since no message is sent.

use transactional_message::ErrorKind;

use super::messenger;
use crate::books::{self, Comparison};
use crate::caller_log::CallerLog;
use crate::child;
use crate::history;
use crate::place::Place;
use crate::service::{ActionError, Call, Shop};

/// Every other one is rolled back.
const CALLS: usize = 20;

#[expect(clippy::print_stdout, reason = "the report")]
pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let messenger = messenger(place, "#").await?;
    history::install(&place.store().await?).await?;
    let shop = Shop { db: place.business().await?, exchange: place.exchange() };
    shop.db.run("CREATE TABLE crossing (id BIGINT PRIMARY KEY, n BIGINT)").await?;
    shop.db.run("INSERT INTO crossing (id, n) VALUES (1, 0), (2, 0)").await?;
    let told = CallerLog::open(&place.directory)?;
    let mut random = fastrand::Rng::with_seed(0);
    for number in 0..CALLS {
        if number % 2 == 0 {
            Call::plain(&mut random).make(&shop, &told).await?;
            continue;
        }
        let result = Call::deadlock(&mut random).run(&shop).await;
        let is_unproven =
            matches!(&result, Err(ActionError::Message(error)) if error.kind() == ErrorKind::Unproven);
        anyhow::ensure!(is_unproven, "a body that ignores a deadlock was told {result:?}");
    }
    child::settled(&messenger, place).await?;
    let comparison = Comparison::make(place).await?;
    anyhow::ensure!(comparison.agree(), "the books differ: {comparison}");
    let done = books::done(place).await?.len();
    anyhow::ensure!(done == CALLS / 2, "{done} calls took effect");
    println!("{} deadlocks ignored by their bodies: nothing of them took effect", CALLS / 2);
    Ok(())
}
