//! What an explanation consists of.

use std::time::SystemTime;

use serde::Serialize;

use crate::message::state::MessageState;
use crate::store::time;

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
    /// Half: none of the processes that announced themselves and are there has its fence or its handler.
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
    /// Confirmed: none of the processes that announced themselves and are there delivers for its service.
    NobodyDelivers,
    /// Half or confirmed: a person has paused check-backs, or deliveries to its exchange.
    Paused,
    /// Parked: its handler gave no clear answer as often as it may be asked.
    NoAnswer {
        /// How often it was asked.
        questions: u32,
    },
    /// Parked: it was not answered for within the setting `check_back_horizon`.
    TooOld,
    /// Parked: its function never began its fenced transaction, so that no fence can answer.
    ForgotBegin,
    /// Parked: its row can't be read. The message's reason says why.
    Unreadable,
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
    /// Nothing, until a process is there that can take it up.
    Wait,
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
    /// Look at its fence first, which has the last word.
    LookAtFence,
    /// Start a process that has its fence or its handler.
    StartAnswerer,
    /// Start a process of its service.
    StartService,
    /// End the pause.
    Resume,
    /// Remove the cause of the failure first. Its text is the message's reason.
    Repair,
    /// Nothing need be done.
    Nothing,
}
