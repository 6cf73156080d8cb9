//! The connection is cut at every byte of a `COMMIT` and of its reply: whatever the caller is told,
//! the message is delivered if, and only if, the business row is there.

use services::proxy::{Proxy, Trick};
use transactional_message::ErrorKind;

use super::messenger;
use crate::books::{self, Comparison};
use crate::caller_log::CallerLog;
use crate::child;
use crate::history;
use crate::place::Place;
use crate::service::{ActionError, Call, Shop};

const MARKER: &str = "COMMIT";

#[expect(clippy::print_stdout, reason = "the report")]
pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    let messenger = messenger(place, "#").await?;
    history::install(&place.store().await?).await?;
    let proxy = Proxy::new(&place.address()?, true).await?;
    let shop = Shop { db: place.business_by(proxy.address()).await?, exchange: place.exchange() };
    let mut random = fastrand::Rng::with_seed(0);

    proxy.play(MARKER, Trick::Measure);
    Call::plain(&mut random).make(&shop, &CallerLog::open(&place.directory)?).await?;
    let lengths = proxy.lengths();
    anyhow::ensure!(lengths.request > 0 && lengths.reply > 0, "no COMMIT was seen: {lengths:?}");

    // A request that is not whole is none; one that is whole is carried out, whoever hears of it.
    let requests = (0..=lengths.request).map(|at| (Trick::CutRequest(at), at == lengths.request));
    let replies = (0..=lengths.reply).map(|at| (Trick::CutReply(at), true));
    let mut cases = Vec::new();
    for (trick, takes_effect) in requests.chain(replies) {
        let call = Call::plain(&mut random);
        proxy.play(MARKER, trick);
        let result = call.run(&shop).await;
        anyhow::ensure!(proxy.was_played(), "no COMMIT was seen for {trick:?}");
        let is_told = trick == Trick::CutReply(lengths.reply);
        anyhow::ensure!(
            if is_told { result.is_ok() } else { is_unclear(&result) },
            "{trick:?}: the caller was told {result:?}"
        );
        cases.push((trick, call, takes_effect));
    }
    child::settled(&messenger, place).await?;
    let done = books::done(place).await?;
    for (trick, call, takes_effect) in cases {
        let took_effect = done.contains_key(&call.action);
        anyhow::ensure!(took_effect == takes_effect, "{trick:?}: it took effect: {took_effect}");
    }
    let comparison = Comparison::make(place).await?;
    anyhow::ensure!(comparison.agree(), "the books differ: {comparison}");
    println!(
        "cut at {} bytes of COMMIT and {} of its reply: the books agree",
        lengths.request, lengths.reply
    );
    Ok(())
}

/// The caller was told that the commit failed, and that its body ran: it may have taken effect.
pub(super) fn is_unclear(result: &Result<(), ActionError>) -> bool {
    matches!(result, Err(ActionError::Message(error)) if error.kind() == ErrorKind::Unavailable && error.body_ran())
}
