//! Why a handler failed, and what that means for its message.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::time::Duration;

use crate::telemetry::labels::Buried;
use crate::transport::Disposition;

/// What a handler's error must be: every `std::error::Error` is, a boxed one, an `anyhow::Error`, and text.
type Boxed = Box<dyn StdError + Send + Sync>;

/// An error of a handler that another attempt won't help: the message is dead at once, with this reason.
///
/// It counts as well where it is the [source](StdError::source) of another error, at any depth. (The context of an
/// `anyhow::Error` is no source: make the error from it, and give that a context.)
///
/// ```
/// # use transactional_message::{Received, Reject};
/// # struct Paid { cents: i64 }
/// # type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// async fn book(_tx: &mut sqlx::SqliteConnection, paid: Received<Paid>) -> Result<(), BoxError> {
///     if paid.payload.cents < 0 {
///         return Err(Reject::because("a negative amount").into());
///     }
///     // …
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Reject(Mark);

impl Reject {
    /// The reason is kept with the dead message.
    pub fn because(reason: impl Display) -> Self {
        Self(Mark { reason: reason.to_string(), verdict: Verdict::Reject })
    }
}

/// An error of a handler that says when to try again. The attempt counts like any other: when it was the last one, the
/// message is dead.
///
/// With RabbitMQ the message waits in the consumer's retry queues, in the longest pause that fits at a time, and so up to
/// the shortest of the [`retry_delays`](crate::Consumer::retry_delays) longer than asked for; at most a thousand times the
/// longest of them. Within the process it waits as long as a first failure at least, and a failure of another consumer of the
/// same message brings it back sooner. A message that would come back later than its consumer
/// [remembers](crate::Consumer::inbox_retention) is dead at once. It counts as well where it is the source of another error.
#[derive(Debug)]
pub struct RetryAfter(Mark);

/// As long as any pause of a consumer.
const LONGEST: Duration = Duration::from_hours(24);

impl RetryAfter {
    /// Not before this time is over; 24 h at most.
    pub fn new(pause: Duration) -> Self {
        let pause = pause.min(LONGEST);
        Self(Mark { reason: format!("to be tried again in {pause:?}"), verdict: Verdict::RetryAfter(pause) })
    }

    /// Says why, for the log, and for the message's reason should it become dead.
    #[must_use]
    pub fn because(mut self, reason: impl Display) -> Self {
        self.0.reason = reason.to_string();
        self
    }
}

/// What is found again in the sources of an error. Wrappers that stand for what they wrap (`#[error(transparent)]`, a
/// boxed `anyhow::Error`) have its sources, and are not it.
#[derive(Debug)]
struct Mark {
    reason: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Reject,
    RetryAfter(Duration),
}

impl Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl StdError for Mark {}

macro_rules! marked {
    ($error:ident) => {
        impl Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl StdError for $error {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
    };
}

marked!(Reject);
marked!(RetryAfter);

/// What becomes of a message whose handler returned this.
pub(super) fn disposition(error: impl Into<Boxed>) -> Disposition {
    let error = error.into();
    let mut why = String::new();
    let mut verdict = None;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error.as_ref());
    while let Some(one) = next {
        if let Some(mark) = one.downcast_ref::<Mark>() {
            verdict = verdict.or(Some(mark.verdict));
        }
        add(&mut why, &one.to_string());
        next = one.source();
    }
    match verdict {
        None => Disposition::Failed(why),
        Some(Verdict::Reject) => Disposition::Rejected(Buried::Rejected, why),
        Some(Verdict::RetryAfter(pause)) => Disposition::FailedFor(pause, why),
    }
}

/// Appends a source, unless the text says it already.
fn add(why: &mut String, source: &str) {
    if why.ends_with(source) {
        return;
    }
    if !why.is_empty() {
        why.push_str(": ");
    }
    why.push_str(source);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Wrapped {
        #[error("booking failed")]
        Within(#[source] Reject),
        #[error(transparent)]
        Transparent(#[from] Reject),
        #[error("the ledger is closed")]
        Later(#[source] RetryAfter),
        #[error("reading the ledger")]
        Plain(#[source] fmt::Error),
        #[error("said all: {0}")]
        SaidAll(#[source] fmt::Error),
    }

    #[test]
    fn a_word_about_the_message_is_found_at_any_depth() {
        let rejected = |why: &str| Disposition::Rejected(Buried::Rejected, why.into());
        assert_eq!(disposition(Reject::because("no")), rejected("no"));
        assert_eq!(disposition(Wrapped::Within(Reject::because("no"))), rejected("booking failed: no"));
        assert_eq!(disposition(Wrapped::from(Reject::because("no"))), rejected("no"));
        assert_eq!(
            disposition(Boxed::from(Wrapped::Within(Reject::because("no")))),
            rejected("booking failed: no")
        );
        let minute = Duration::from_mins(1);
        let later = RetryAfter::new(minute).because("opens at nine");
        let expected = Disposition::FailedFor(minute, "the ledger is closed: opens at nine".into());
        assert_eq!(disposition(Wrapped::Later(later)), expected);
        let expected = Disposition::FailedFor(LONGEST, "to be tried again in 86400s".into());
        assert_eq!(disposition(RetryAfter::new(Duration::MAX)), expected);
    }

    #[test]
    fn an_error_is_told_with_its_sources() {
        let failed = |why: &str| Disposition::Failed(why.into());
        let formatting = fmt::Error.to_string();
        assert_eq!(disposition("text"), failed("text"));
        assert_eq!(
            disposition(Wrapped::Plain(fmt::Error)),
            failed(&format!("reading the ledger: {formatting}"))
        );
        assert_eq!(disposition(Wrapped::SaidAll(fmt::Error)), failed(&format!("said all: {formatting}")));
    }
}
