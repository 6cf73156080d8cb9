//! Where a message stands, because of what, what happens next and when, and what a person can do: as data.
//!
//! A pure function of a row and of what is known around it. It asks the same rules as the workers do, and the model
//! ([`super::model`]) checks that what is announced is what happens. [`words`] says it to people.

mod choices;
mod foresee;
pub(crate) mod words;

use std::time::SystemTime;

use serde::Serialize;

use crate::message::state::MessageState;
use crate::message::{AnsweredBy, Evidence};
use crate::settings::Settings;
use crate::store::{HeldBy, MessageInfo, ProcessInfo, time};

use choices::choices;
pub(crate) use foresee::{Budgets, Seen, foresee};

/// Where a message stands, because of what, what happens next and when, and what a person can do.
///
/// [`Explanation::say`] says it in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Where it stands.
    pub state: MessageState,
    /// Why it stands there.
    pub because: Cause,
    /// What happens next.
    pub next: Next,
    /// When that happens.
    pub when: When,
    /// What a person can do, the best first.
    pub choices: Vec<Choice>,
}

/// Why a message stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Half: a process holds it. The function runs, or its report is on its way.
    Running,
    /// Half: its process has not renewed its lease, and has probably vanished.
    ProcessVanished,
    /// Half: a check-back is asking about it.
    BeingAsked,
    /// Half: whoever asked about it has not come back, perhaps because of the question.
    AskerVanished,
    /// Half: a check-back got no clear answer, and pauses.
    AskedInVain {
        /// How many questions count so far.
        questions: u32,
    },
    /// Half: nobody has reported how its function ended, and nobody has asked yet.
    Unreported,
    /// Half: none of the processes that are there has its fence or its handler.
    NobodyAnswers,
    /// Confirmed: a process is publishing it, or has it in memory to be published.
    Publishing,
    /// Confirmed: the process that was publishing it has not renewed its lease.
    PublisherVanished,
    /// Confirmed: it was sent with a delay that is not over.
    Delayed,
    /// Confirmed: it could not be delivered, and the next attempt is due later.
    DeliveryFailed {
        /// How many attempts count so far.
        attempts: u32,
    },
    /// Confirmed: it could not be published, by no fault of its own: the broker was away, say.
    NotPublished,
    /// Confirmed: it is due, and waits for a process of its service to take it up.
    WaitsForRelay,
    /// Confirmed: none of the processes that are there delivers for its service.
    NobodyDelivers,
    /// Parked: its handler gave no clear answer as often as it may be asked.
    NoAnswer {
        /// How often it was asked.
        questions: u32,
    },
    /// Parked: it was not answered for within the setting `check_back_horizon`.
    TooOld,
    /// Parked: its function never began its fenced transaction, so that no fence can answer.
    ForgotBegin,
    /// Dead: it was tried as often as the setting `delivery_attempts` allows.
    AttemptsUsedUp {
        /// How often it was tried.
        attempts: u32,
    },
    /// Dead: it was refused in a way that does not pass.
    Refused,
    /// Dead: one or the other. The settings are not known, and with them how often it may be tried.
    GivenUp {
        /// How often it was tried.
        attempts: u32,
    },
    /// Cancelled: its business action took no effect, or said that there is nothing to send.
    NoEffect,
    /// Delivered: the broker, or the consumers in the process, have taken it.
    Acknowledged,
    /// Expired: it was not delivered in time.
    Late,
}

/// What happens to a message next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Next {
    /// Its process reports how the function ended.
    Report,
    /// A check-back asks its fence.
    AskFence,
    /// A check-back asks its handler.
    AskHandler,
    /// A check-back asks its handler while nothing else runs in the process: the last question may have killed one.
    AskHandlerAlone,
    /// A check-back puts the question off: what the function sent may still be in flight.
    WaitFirst,
    /// The answer to the question that is being asked settles it, or it is asked about again later.
    Answer,
    /// It is parked.
    Park,
    /// A process of its service publishes it.
    Publish,
    /// The broker's answer to the publish settles it, or it is published again later.
    Acknowledge,
    /// It expires.
    Expire,
    /// Nothing, until a person decides.
    Decide,
    /// Nothing. It is deleted when its retention is over.
    Delete,
}

/// When that happens. By the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum When {
    /// As soon as a process looks: within its setting `poll_interval`.
    Now,
    /// Not before this time.
    At(#[serde(serialize_with = "time")] SystemTime),
    /// At any moment. If it has not happened by then, its holder has vanished, and another process takes over.
    Until(#[serde(serialize_with = "time")] SystemTime),
    /// Nobody knows.
    Open,
}

/// What a person can do about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Choice {
    /// Confirm it: its business action took effect.
    Confirm,
    /// Cancel it: its business action took no effect, and never will.
    Cancel,
    /// Try again now.
    Retry,
    /// Find out whether the business action took effect: nobody else can tell.
    FindOut,
    /// Start a process that has its fence or its handler.
    StartAnswerer,
    /// Start a process of its service.
    StartService,
    /// Remove the cause of the failure first. Its text is the message's reason.
    Repair,
    /// Nothing need be done.
    Nothing,
}

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
        let lonely =
            if unfinished && seen.holder.is_none() { nobody_takes_it_up(message, around) } else { None };
        let when = when(message, next, &seen, &settings);
        // A half that nobody can ask about is parked in the end; a message that nobody delivers stays.
        let (because, next, when) = match lonely {
            Some(cause @ Cause::NobodyAnswers) => {
                let parked = message.created_at + settings.check_back_horizon;
                (cause, Next::Park, if parked <= message.read_at { When::Now } else { When::At(parked) })
            }
            Some(cause) => (cause, next, When::Open),
            None => (because, next, when),
        };
        let choices = choices(message.state, because, around.evidence.as_ref());
        Self { state: message.state, because, next, when, choices }
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
