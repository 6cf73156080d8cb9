//! `tm dead`: RabbitMQ's dead letters.

mod discard;
mod list;
mod redrive;
mod show;

use transactional_message::{DeadLetter, DeadLetters};

use crate::arguments::dead::{Dead, Verb};
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

/// Before version 4.3, RabbitMQ counts each look. Half of the limit that is its default since version 4.
const OFTEN: u64 = 10;

pub(super) async fn run(session: &Session, output: &Output, dead: Dead) -> Result<Exit, Failure> {
    let mut letters = session.within(connect(session)).await?;
    if dead.despite_limit {
        letters = letters.at_any_cost();
    }
    let exit = match dead.verb {
        Verb::List(list) => session.within(list::run(session, output, &mut letters, list)).await,
        Verb::Show(show) => session.within(show::run(output, &mut letters, &show)).await,
        // As long as it takes.
        Verb::Redrive(redrive) => redrive::run(session, output, &mut letters, &redrive).await,
        Verb::Discard(discard) => discard::run(session, output, &mut letters, &discard).await,
    };
    letters.close().await;
    exit
}

async fn connect(session: &Session) -> Result<DeadLetters<'_>, Failure> {
    let rabbitmq = session.rabbitmq()?;
    Ok(session.messenger.admin().by(&session.actor).dead_letters(rabbitmq).await?)
}

/// Says so where looking may cost messages.
fn warn_of_looking(queue: &str, letters: &[DeadLetter]) {
    let most = letters.iter().map(|letter| letter.handed_out).max().unwrap_or_default();
    if most >= OFTEN {
        say(&format!(
            "dead letters of `{queue}` were handed out {most} times: where the queue has no large delivery limit, RabbitMQ 4 \
             drops what is looked at 20 times. `tm doctor` says whether it has"
        ));
    }
}

/// Which reason is given for a change.
fn reason(text: &str) -> Result<&str, Failure> {
    if text.trim().is_empty() {
        return Err(Failure::usage("--reason is empty: say why, for those who look into it later"));
    }
    Ok(text)
}

fn named(letter: &DeadLetter) -> &str {
    letter.id.as_deref().unwrap_or("without an id")
}
