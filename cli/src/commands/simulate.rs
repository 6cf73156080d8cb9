//! `tm ask`

use std::fmt::Write;

use transactional_message::{Answered, MessageInfo, MessageState, Simulation};

use super::find;
use crate::arguments::Ask;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, say};

pub(super) async fn run(session: &Session, output: &Output, ask: &Ask) -> Result<Exit, Failure> {
    let simulate = async {
        let message = find::message(&session.messenger, &ask.one.id, 1).await?;
        let simulation = session.messenger.admin().simulate(message.id).await?;
        Ok((message, simulation))
    };
    let (message, simulation) = session.within(simulate).await?;
    output.one(&simulation, || text(&simulation))?;
    if ask.apply && !session.dry_run {
        return apply(session, &message, ask.reason.as_deref().unwrap_or_default()).await;
    }
    Ok(Exit::Done)
}

/// By the ordinary way: a process that has its fence or its handler asks, which settles it as always.
async fn apply(session: &Session, message: &MessageInfo, reason: &str) -> Result<Exit, Failure> {
    let (id, state) = (message.id, message.state);
    if state != MessageState::Half {
        let why = format!("message {id} is {state}: only a half message is asked about");
        return Err(Failure::new(Exit::Refused, why));
    }
    session.consent.make_sure(&format!("This would have message {id} asked about now")).await?;
    let admin = session.messenger.admin().by(&session.actor);
    session.within(async { Ok(admin.retry(id, reason).await?) }).await?;
    say(&format!(
        "message {id} is due now: a process asks about it, and `tm show {id}` says what came of it"
    ));
    Ok(Exit::Done)
}

pub(super) fn text(simulation: &Simulation) -> String {
    let mut text =
        format!("message {}, {}: {}\n", simulation.message.id, simulation.message.state, simulation.evidence);
    let answer = match &simulation.answer {
        Answered::With(outcome) => format!("a check-back would be answered: {outcome:?}").to_lowercase(),
        Answered::Unclear(why) => format!("a check-back would get no clear answer: {why}"),
        Answered::NotAsked(why) => format!("a check-back was not simulated: {why}"),
        _ => String::new(),
    };
    let _ = writeln!(text, "{}", plain(&answer));
    for (action, refusal) in &simulation.refusals {
        let _ = match refusal {
            None => writeln!(text, "{action} would be done"),
            Some(why) => writeln!(text, "{action} would be refused: the message {}", plain(why)),
        };
    }
    text
}
