//! `tm ask`

use std::fmt::Write;

use transactional_message::{Answered, Simulation};

use super::find;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};

pub(super) async fn run(session: &Session, output: &Output, id: &str) -> Result<Exit, Failure> {
    let message = find::message(&session.messenger, id, 1).await?;
    let simulation = session.messenger.admin().simulate(message.id).await?;
    output.one(&simulation, || text(&simulation))?;
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
