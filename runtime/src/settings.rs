//! The settings, validated when the messenger is built.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::error::{Error, ErrorKind};
use crate::message::limits::Limits;

/// Growing pauses between tries: doubled each time from `first` up to `max`, with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The pause after the first try.
    pub first: Duration,
    /// The longest pause, before jitter.
    pub max: Duration,
}

impl Backoff {
    /// Pauses from `first` to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The pause after try number `tries`, from 0.
    pub(crate) fn delay(&self, tries: u32) -> Duration {
        // The power is capped: long before 2^32 the longest pause is reached.
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.max)
            .with_jitter()
            .without_max_times()
            .build()
            .nth(tries.min(32) as usize)
            .unwrap_or(self.max)
    }
}

/// The settings of a [`Messenger`](crate::Messenger).
///
/// ```
/// # use std::time::Duration;
/// use transactional_message::Settings;
///
/// let settings = Settings::default().check_after(Duration::from_secs(30)).retention(Duration::from_hours(48 * 7));
/// ```
///
/// [`MessengerBuilder::build`](crate::MessengerBuilder::build) checks each against its bounds, and says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How long a row stays with a holder that does not renew it: recovery begins about that long
    /// after a crash, or after the next start. Renewed long before. Default: 5 s.
    pub lease: Duration,
    /// How long the half message may take to be stored before the call fails. Default: 5 s.
    pub half_timeout: Duration,
    /// How long after its body vanished (panic, dropped future, dead process) a handler is first
    /// asked: what the body has sent may still be in flight. A fence is asked at once, but for a
    /// caller that has still to commit what a function has [entered](crate::enter). Default: 10 s.
    pub check_after: Duration,
    /// How long a handler may take for its answer. Default: 10 s.
    pub handler_timeout: Duration,
    /// How often a handler is asked before the message is parked. A question counts when it got no clear answer, or when it
    /// was asked alone, after the process that asked before had died over it or beside it: so a handler that kills the
    /// process dies once more than this says, and its neighbours are not blamed. A fence has no such limit. Default: 20.
    pub check_back_attempts: u32,
    /// The pauses between questions. Default: 1 s to 5 min.
    pub check_back_backoff: Backoff,
    /// A fenced half older than this, or one whose handler this process lacks, is parked, never asked. Less than `retention`. Default: 3 days.
    pub check_back_horizon: Duration,
    /// How long a question to a fence waits for an open transaction. Default: 500 ms.
    pub fence_lock_timeout: Duration,
    /// Whether this process delivers. `false` leaves confirmed messages to the other processes
    /// over the same store. Within the process, delivery is to its own consumers: all processes that
    /// deliver must have the same ones, since a message is delivered by one of them, and one that
    /// does not deliver has none. With RabbitMQ, consumers need no such thing. Default: `true`.
    pub deliver: bool,
    /// How often a delivery is tried before the message is dead. Default: 50.
    pub delivery_attempts: u32,
    /// The pauses between delivery attempts. Default: 500 ms to 1 min.
    pub delivery_backoff: Backoff,
    /// How long a broker may take to acknowledge a message. Default: 30 s. After a tenth of it, 3 s at most, without any
    /// acknowledgement, other messages no longer wait for it. Within the process, the consumers' `handler_timeout` counts.
    pub publish_timeout: Duration,
    /// Messages being published at once. Default: 256.
    pub relay_window: usize,
    /// Payload bytes read from the table at once. Default: 16 MiB.
    pub relay_bytes: usize,
    /// Confirmed messages that wait for the relay in memory; more are left in the table. Default: 1024.
    pub relay_queue: usize,
    /// Payload bytes of confirmed messages that are in memory until they are published; more are left in the
    /// table. At least `body_limit`. Default: 64 MiB; at most 4 GiB.
    pub relay_queue_bytes: usize,
    /// How often the table is looked at for what nobody holds. Default: 500 ms.
    pub poll_interval: Duration,
    /// The pauses while the store does not answer. Default: 50 ms to 2 s.
    pub report_backoff: Backoff,
    /// How long delivered and cancelled messages, and their fence rows, are kept. Default: 7 days.
    pub retention: Duration,
    /// How often the janitor makes its round. Default: 1 min.
    pub janitor_interval: Duration,
    /// The longest body of a message, in bytes. Default: 1 MiB; at most 16 MiB, and on MySQL and MariaDB what fits into
    /// the server's `max_allowed_packet`, which [`MessengerBuilder::build`](crate::MessengerBuilder::build) asks for.
    pub body_limit: usize,
    /// The longest headers of a message, names and values together, in bytes. Default: 32 KiB; at most 64 KiB.
    pub headers_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        Self {
            lease: seconds(5),
            half_timeout: seconds(5),
            check_after: seconds(10),
            handler_timeout: seconds(10),
            check_back_attempts: 20,
            check_back_backoff: Backoff::new(seconds(1), seconds(300)),
            check_back_horizon: Duration::from_hours(3 * 24),
            fence_lock_timeout: millis(500),
            deliver: true,
            delivery_attempts: 50,
            delivery_backoff: Backoff::new(millis(500), seconds(60)),
            publish_timeout: seconds(30),
            relay_window: 256,
            relay_bytes: 16 * 1024 * 1024,
            relay_queue: 1024,
            relay_queue_bytes: 64 * 1024 * 1024,
            poll_interval: millis(500),
            report_backoff: Backoff::new(millis(50), seconds(2)),
            retention: Duration::from_hours(7 * 24),
            janitor_interval: seconds(60),
            body_limit: 1024 * 1024,
            headers_limit: 32 * 1024,
        }
    }
}

/// A method for each setting, with its name.
macro_rules! setters {
    ($($name:ident: $type:ty,)*) => {
        impl Settings {
            $(
                #[doc = concat!("With another [`", stringify!($name), "`](field@Self::", stringify!($name), ").")]
                #[must_use]
                pub const fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )*

            /// Each by its name, as text: see [`heard`](Self::heard).
            pub(crate) fn entries(&self) -> BTreeMap<String, String> {
                [$((stringify!($name).to_owned(), format!("{:?}", self.$name))),*].into()
            }
        }
    };
}

setters! {
    lease: Duration,
    half_timeout: Duration,
    check_after: Duration,
    handler_timeout: Duration,
    check_back_attempts: u32,
    check_back_backoff: Backoff,
    check_back_horizon: Duration,
    fence_lock_timeout: Duration,
    deliver: bool,
    delivery_attempts: u32,
    delivery_backoff: Backoff,
    publish_timeout: Duration,
    relay_window: usize,
    relay_bytes: usize,
    relay_queue: usize,
    relay_queue_bytes: usize,
    poll_interval: Duration,
    report_backoff: Backoff,
    retention: Duration,
    janitor_interval: Duration,
    body_limit: usize,
    headers_limit: usize,
}

/// A message that waits longer than this for its next attempt waits for an operator.
const LONGEST_PAUSE: Duration = Duration::from_hours(7 * 24);
/// Longer than anything is kept.
const YEARS: Duration = Duration::from_hours(100 * 365 * 24);

impl Settings {
    /// With those that decide what becomes of a message as another process has them, by its own [`entries`](Self::entries).
    pub(crate) fn heard(mut self, entries: &BTreeMap<String, String>) -> Self {
        fn hear<T>(entry: Option<&String>, read: impl Fn(&str) -> Option<T>, setting: &mut T) {
            if let Some(heard) = entry.and_then(|text| read(text)) {
                *setting = heard;
            }
        }
        let number = |text: &str| text.parse().ok();
        let bytes = |text: &str| text.parse().ok();
        let duration = |text: &str| {
            let whole = text.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
            whole
                .and_then(|whole| Duration::try_from_secs_f64(whole).ok())
                .or_else(|| humantime::parse_duration(text).ok())
        };
        hear(entries.get("check_back_attempts"), number, &mut self.check_back_attempts);
        hear(entries.get("delivery_attempts"), number, &mut self.delivery_attempts);
        hear(entries.get("check_back_horizon"), duration, &mut self.check_back_horizon);
        hear(entries.get("retention"), duration, &mut self.retention);
        hear(entries.get("body_limit"), bytes, &mut self.body_limit);
        hear(entries.get("headers_limit"), bytes, &mut self.headers_limit);
        self
    }

    /// Says what is wrong, and what would be right.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let second = Duration::from_secs(1);
        for (name, value, min, max) in [
            ("lease", self.lease, second / 10, second * 3600),
            ("half_timeout", self.half_timeout, second / 10, second * 3600),
            ("handler_timeout", self.handler_timeout, second / 100, second * 3600),
            ("fence_lock_timeout", self.fence_lock_timeout, second / 1000, second * 60),
            ("publish_timeout", self.publish_timeout, second / 100, second * 3600),
            ("poll_interval", self.poll_interval, second / 1000, second * 3600),
            ("janitor_interval", self.janitor_interval, second / 1000, second * 86400),
            ("check_after", self.check_after, Duration::ZERO, second * 86400),
            // With zero, every message of a process that died would be parked or forgotten at once.
            ("check_back_horizon", self.check_back_horizon, second / 1000, YEARS),
            ("retention", self.retention, second / 1000, YEARS),
        ] {
            if !(min..=max).contains(&value) {
                return Err(wrong(name, value, &format!("must be between {min:?} and {max:?}")));
            }
        }
        for (name, value, max) in [
            ("check_back_attempts", self.check_back_attempts as usize, u32::MAX as usize),
            ("delivery_attempts", self.delivery_attempts as usize, u32::MAX as usize),
            ("relay_window", self.relay_window, 65_536),
            ("relay_bytes", self.relay_bytes, usize::MAX),
            ("relay_queue", self.relay_queue, 1 << 20),
            ("relay_queue_bytes", self.relay_queue_bytes, u32::MAX as usize),
            ("body_limit", self.body_limit, 16 * 1024 * 1024),
            ("headers_limit", self.headers_limit, 64 * 1024),
        ] {
            if value == 0 || value > max {
                return Err(wrong(name, value, &format!("must be between 1 and {max}")));
            }
        }
        for (name, backoff) in [
            ("check_back_backoff", self.check_back_backoff),
            ("delivery_backoff", self.delivery_backoff),
            ("report_backoff", self.report_backoff),
        ] {
            if backoff.first.is_zero() || backoff.max < backoff.first || backoff.max > LONGEST_PAUSE {
                let remedy = format!(
                    "must begin above zero, and end no lower than it begins and at most at {LONGEST_PAUSE:?}"
                );
                return Err(wrong(name, backoff, &remedy));
            }
        }
        if self.relay_queue_bytes < self.body_limit {
            return Err(wrong(
                "relay_queue_bytes",
                self.relay_queue_bytes,
                &format!(
                    "must be at least `body_limit` ({}), so that every message fits by itself",
                    self.body_limit
                ),
            ));
        }
        if self.check_back_horizon >= self.retention {
            return Err(wrong(
                "check_back_horizon",
                self.check_back_horizon,
                &format!(
                    "must be less than `retention` ({:?}): a pruned fence row can't be asked",
                    self.retention
                ),
            ));
        }
        Ok(())
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits { body_bytes: self.body_limit, headers_bytes: self.headers_limit }
    }
}

fn wrong(name: &str, value: impl std::fmt::Debug, remedy: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the setting `{name}` is {value:?}; it {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Settings::default().validate().expect("valid");
    }

    #[test]
    fn mistakes_are_named_with_their_remedy() {
        let default = Settings::default();
        for (settings, expected) in [
            (
                Settings { lease: Duration::ZERO, ..default },
                "`lease` is 0ns; it must be between 100ms and 3600s",
            ),
            (
                Settings { check_back_horizon: Duration::ZERO, ..default },
                "`check_back_horizon` is 0ns; it must be between 1ms and",
            ),
            (Settings { retention: Duration::ZERO, ..default }, "`retention` is 0ns"),
            (Settings { check_after: Duration::MAX, ..default }, "`check_after`"),
            (Settings { relay_window: 0, ..default }, "`relay_window` is 0; it must be between 1 and 65536"),
            (Settings { body_limit: 1 << 30, ..default }, "`body_limit`"),
            (
                Settings { relay_queue_bytes: 1000, ..default },
                "`relay_queue_bytes` is 1000; it must be at least `body_limit` (1048576)",
            ),
            (Settings { check_back_horizon: default.retention, ..default }, "less than `retention`"),
            (
                Settings {
                    delivery_backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(1)),
                    ..default
                },
                "`delivery_backoff`",
            ),
            (
                Settings { report_backoff: Backoff::new(Duration::from_secs(1), Duration::MAX), ..default },
                "at most at 604800s",
            ),
        ] {
            let error = settings.validate().expect_err("accepted").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for (tries, at_least) in [(0, 100), (1, 200), (2, 400), (5, 2000), (u32::MAX, 2000)] {
            let delay = backoff.delay(tries).as_millis();
            // Jitter adds up to as much again.
            assert!((at_least..=at_least * 2).contains(&delay), "{tries}: {delay}");
        }
    }
}
