//! Where a message stands, because of what, what happens next and when, and what a person can do: as data.
//!
//! A pure function of a row and of what is known around it. It asks the same rules as the workers do, and the model
//! ([`super::model`]) checks that what is announced is what happens. [`words`] says it to people.

mod choices;
mod foresee;
mod values;
pub(crate) mod words;

use crate::message::state::MessageState;
use crate::message::{AnsweredBy, Evidence, Pausable};
use crate::settings::Settings;
use crate::store::{HeldBy, MessageInfo, Pause, ProcessInfo};

use choices::choices;
pub(crate) use foresee::{Budgets, Seen, foresee};
pub use values::{Cause, Choice, Explanation, Next, When};

/// What is known around a message, besides its row.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Surroundings {
    /// The settings of the processes that settle and deliver it, if they are known.
    pub settings: Option<Settings>,
    /// The processes that are there, if that is known.
    pub processes: Option<Vec<ProcessInfo>>,
    /// What its fence says, if it was looked at.
    pub evidence: Option<Evidence>,
    /// What is paused.
    pub pauses: Vec<Pause>,
}

impl Explanation {
    /// Explains a message from its row and what is known around it.
    ///
    /// ```
    /// # use transactional_message::{Admin, Error, Explanation, MessageId, Surroundings, Language};
    /// # async fn why(admin: Admin<'_>, id: MessageId) -> Result<(), Error> {
    /// if let Some(message) = admin.find(id).await? {
    ///     let explanation = Explanation::of(&message, &Surroundings::default());
    ///     println!("{}", explanation.say(Language::English, |time| format!("{time:?}")));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(message: &MessageInfo, around: &Surroundings) -> Self {
        let settings = around.settings.unwrap_or_default();
        let nobody = AnsweredBy::Nobody;
        let seen = Seen {
            state: message.state,
            answered_by: message.answerer.as_ref().unwrap_or(&nobody),
            holder: message.held_by.map(HeldBy::holder),
            due: message.due_at.is_none_or(|due| due <= message.read_at),
            attempts: message.attempts,
            age: message.age,
            check_after: message.check_after,
            delayed: message.deliver_at.is_some_and(|time| time > message.read_at),
            late: message.expires_at.is_some_and(|time| time <= message.read_at),
        };
        let (because, next) = foresee(&seen, &Budgets::of(&settings, around.settings.is_some()));
        let unfinished = matches!(message.state, MessageState::Half | MessageState::Confirmed);
        let lonely = if unfinished && (seen.holder.is_none() || seen.due) {
            nobody_takes_it_up(message, around)
        } else {
            None
        };
        let when = when(message, next, &seen, &settings);
        let (because, next, when) = match lonely {
            // A half that nobody can ask about is parked in the end, by any process that is there.
            Some(cause @ Cause::NobodyAnswers) if around.is_anybody_there() => {
                let parked = message.created_at + settings.check_back_horizon;
                (cause, Next::Park, if parked <= message.read_at { When::Now } else { When::At(parked) })
            }
            Some(cause) => (cause, Next::Wait, When::Open),
            None if let Some(pause) = around.pause_of(message, next) => {
                let end = pause.ends_at;
                let when = if let When::At(time) = when { time.max(end) } else { end };
                (Cause::Paused, next, When::At(when))
            }
            None if message.answerer.is_none() && because == Cause::ForgotBegin => {
                (Cause::Unreadable, next, when)
            }
            None => (because, next, when),
        };
        let choices = choices(message, because, around.evidence.as_ref());
        Self { state: message.state, because, next, when, choices }
    }
}

impl Surroundings {
    /// What keeps this from happening to the message: of several pauses, the one that ends last.
    fn pause_of(&self, message: &MessageInfo, next: Next) -> Option<&Pause> {
        let is_meant = |what: &Pausable| match next {
            Next::AskFence | Next::AskHandler | Next::AskHandlerAlone | Next::WaitFirst => {
                matches!(what, Pausable::All | Pausable::CheckBacks)
            }
            Next::Publish => match what {
                Pausable::All => true,
                Pausable::Exchange(name) => *name == message.exchange,
                // Within a process, its messages are put off.
                Pausable::Queue(_) => {
                    message.reason.as_ref().is_some_and(|reason| reason.starts_with(&what.mark()))
                }
                Pausable::CheckBacks => false,
            },
            _ => false,
        };
        self.pauses.iter().filter(|pause| is_meant(&pause.what)).max_by_key(|pause| pause.ends_at)
    }

    fn is_anybody_there(&self) -> bool {
        self.processes.iter().flatten().any(ProcessInfo::is_alive)
    }
}

/// Whether none of the processes that are there could take the message up.
fn nobody_takes_it_up(message: &MessageInfo, around: &Surroundings) -> Option<Cause> {
    let processes = around.processes.as_deref()?;
    let mut alive = processes.iter().filter(|process| process.is_alive());
    match message.state {
        MessageState::Half => {
            let answerer = message.answerer.as_ref()?.to_string();
            (!alive.any(|process| process.answers.contains(&answerer))).then_some(Cause::NobodyAnswers)
        }
        _ => (!alive.any(|process| process.delivers && process.services.contains(&message.service)))
            .then_some(Cause::NobodyDelivers),
    }
}

fn when(message: &MessageInfo, next: Next, seen: &Seen<'_>, settings: &Settings) -> When {
    let due = message.due_at.unwrap_or(message.read_at);
    match next {
        Next::Report | Next::Answer | Next::Acknowledge => When::Until(due),
        Next::Decide => When::Open,
        Next::Delete => message.finished_at.map_or(When::Open, |since| When::At(since + settings.retention)),
        // It is taken up now, and then has to wait.
        Next::WaitFirst => When::At(message.read_at + message.check_after),
        _ if seen.due => When::Now,
        _ => When::At(message.deliver_at.filter(|_| seen.delayed).map_or(due, |at| at.max(due))),
    }
}
