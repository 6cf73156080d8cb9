//! A commit takes effect, and its reply is lost: the caller gets an error, and the message is delivered.

use transactional_message::fault::{self, Fault, FaultKind};

use super::ambiguous_commit::is_unclear;
use super::messenger;
use crate::books::{self, Comparison};
use crate::child;
use crate::history;
use crate::place::Place;
use crate::service::{Call, Shop};

/// Every other one is lost.
const CALLS: usize = 40;

#[expect(clippy::print_stdout, reason = "the report")]
pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let messenger = messenger(place, "#").await?;
    history::install(&place.store().await?).await?;
    let shop = Shop { db: place.business().await?, exchange: place.exchange() };
    let mut random = fastrand::Rng::with_seed(0);
    let mut actions = Vec::new();
    for number in 0..CALLS {
        let call = Call::plain(&mut random);
        let is_lost = number % 2 == 0;
        fault::arm(is_lost.then(|| Fault { fate: FaultKind::Lose, point: "commit-sent".into(), visit: 1 }));
        let result = call.run(&shop).await;
        anyhow::ensure!(
            if is_lost { is_unclear(&result) } else { result.is_ok() },
            "lost: {is_lost}; the caller was told {result:?}"
        );
        actions.push(call.action);
    }
    child::settled(&messenger, place).await?;
    let done = books::done(place).await?;
    anyhow::ensure!(actions.iter().all(|action| done.contains_key(action)), "a commit did not take effect");
    let comparison = Comparison::make(place).await?;
    anyhow::ensure!(comparison.agree(), "the books differ: {comparison}");
    println!("{} replies to a commit lost: each caller got its error, each message was delivered", CALLS / 2);
    Ok(())
}
