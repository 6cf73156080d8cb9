//! One of 64 questions kills every process that asks it: it is parked when its budget is used up, and its neighbours are
//! settled as if it were not there.

use std::time::Duration;

use anyhow::Context;
use transactional_message::{Message, MessageState, Messenger};

use crate::child;
use crate::database::with_pool;
use crate::place::Place;
use crate::process::{PATIENCE, Service};
use crate::service::{ActionError, Call, DEADLY, HANDLER};

/// As many as are asked at once.
const QUESTIONS: usize = 64;
const ATTEMPTS: usize = 3;
const NEVER: Duration = Duration::from_hours(1);

#[expect(clippy::print_stdout, reason = "the report")]
pub(super) async fn play(place: &Place) -> anyhow::Result<()> {
    leave_questions(place).await?;
    let budget = format!("--check-back-attempts={ATTEMPTS}");
    // What counts here is who dies, not who is slow.
    let patience = "--handler-timeout=3";
    let mut deaths = 0;
    loop {
        let ended = Service::start(place, ["--quiet", &budget, patience])?.end(PATIENCE).await?;
        if ended.success() {
            break;
        }
        deaths += 1;
        anyhow::ensure!(deaths <= 2 * QUESTIONS, "it dies for ever: {ended}");
    }
    let settings = child::settings(NEVER);
    let store = place.store().await?;
    let messenger = Messenger::builder(&store)
        .settings(settings)
        .data(place.business().await?)
        .fence("business", &place.business().await?)
        .build()
        .await?;
    let stats = messenger.stats().await?;
    let parked = messenger.admin().list(MessageState::Parked, None, 2).await?;
    let deadly = parked.first().context("nothing is parked")?;
    let innocents = QUESTIONS as u64 - 1;
    anyhow::ensure!(
        (stats.parked, stats.cancelled) == (1, innocents),
        "innocents were blamed: {} parked, {} settled: {:?}",
        stats.parked,
        stats.cancelled,
        parked.iter().map(|message| &message.reason).collect::<Vec<_>>()
    );
    anyhow::ensure!(deadly.business_key.as_deref() == Some(DEADLY), "an innocent is parked: {deadly:?}");
    // The first question is everybody's: only those that are asked alone count.
    anyhow::ensure!(deaths == ATTEMPTS + 1, "{deaths} deaths, where {} were to be", ATTEMPTS + 1);
    println!("{deaths} deaths: one parked, {innocents} settled");
    Ok(())
}

/// Halves with a handler that nobody reported, all due.
async fn leave_questions(place: &Place) -> anyhow::Result<()> {
    let (store, business) = tokio::try_join!(place.store(), place.business())?;
    let settings = child::settings(NEVER * 2).check_after(NEVER);
    let messenger = Messenger::builder(&store)
        .settings(settings)
        .data(business.clone())
        .fence("business", &business)
        .build()
        .await?;
    messenger.migrate().await?;
    messenger.start().await?;
    let mut random = fastrand::Rng::with_seed(0);
    for number in 0..QUESTIONS {
        let key = if number == QUESTIONS / 2 { DEADLY } else { "innocent" };
        let message = Message::json(place.exchange(), "handled", &Call::plain(&mut random).message(0))?
            .business_key(key);
        let messenger = messenger.clone();
        let call = tokio::spawn(async move {
            let body = async { std::panic::resume_unwind(Box::new("as it was to")) };
            messenger
                .call::<(), ActionError, _>(
                    transactional_message::Call::new(HANDLER).message(message).check_back(HANDLER),
                    body,
                )
                .await
        });
        anyhow::ensure!(call.await.is_err(), "its body was to panic");
    }
    anyhow::ensure!(messenger.shutdown(PATIENCE).await, "not all was reported");
    // A renewal on its way may have taken one back as it was given back: it would lapse, and wait for `check_after`.
    let due = store.sql("UPDATE tm_message SET held_by = NULL, due_at = 0, check_after = 100");
    let due = with_pool!(&store, pool => sqlx::query(due).execute(pool).await?.rows_affected());
    anyhow::ensure!(due == QUESTIONS as u64, "{due} halves were left");
    Ok(())
}
