//! Labels whose values are known beforehand.

/// The values of a label.
pub(crate) trait Values: Copy + 'static {
    /// The label's name; none for what has no such label.
    const LABEL: Option<&'static str>;
    const VALUES: &'static [&'static str];

    fn index(self) -> usize;
}

impl Values for () {
    const LABEL: Option<&'static str> = None;
    const VALUES: &'static [&'static str] = &[""];

    fn index(self) -> usize {
        0
    }
}

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident $label:literal { $($(#[$of:meta])* $value:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(not(feature = "rabbitmq"), allow(dead_code, reason = "much happens only at a broker"))]
        pub(crate) enum $name { $($(#[$of])* $value),* }

        impl Values for $name {
            const LABEL: Option<&'static str> = Some($label);
            const VALUES: &'static [&'static str] = &[$($text),*];

            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

values! {
    /// How a call ended.
    CallOutcome "outcome" {
        Ok = "ok",
        Err = "err",
        /// With `Ok`, and nothing to send.
        Withheld = "withheld",
        Panicked = "panicked",
        /// Its future was.
        Dropped = "dropped",
        /// Its half message could not be stored, or its caller left before.
        NotRun = "not_run",
    }
    /// What a report made of a message.
    Reported "event" {
        Confirmed = "confirmed",
        Cancelled = "cancelled",
        Parked = "parked",
    }
    /// What a fence or a handler answered.
    Answer "outcome" {
        Confirm = "confirm",
        Cancel = "cancel",
        Unknown = "unknown",
    }
    /// Who knew better than a report or a person.
    Overruler "by" {
        Fence = "fence",
        Handler = "handler",
    }
    /// What a person decided.
    Decided "action" {
        Confirm = "confirm",
        Cancel = "cancel",
        Retry = "retry",
    }
    /// Why an attempt to deliver failed.
    NotDelivered "reason" {
        /// No queue takes the message.
        Unroutable = "unroutable",
        NoExchange = "no_exchange",
        /// By the broker.
        Refused = "refused",
        TooLarge = "too_large",
        /// By a queue.
        Nacked = "nacked",
        Timeout = "timeout",
        /// Within the process, where its handler's failure is the delivery's.
        Handler = "handler",
    }
    /// What was consumed.
    Consumed "result" {
        Ok = "ok",
        /// Its effect had happened before.
        Repeated = "repeated",
    }
    /// How a handler of messages ended.
    Handled "result" {
        Ok = "ok",
        Failed = "failed",
    }
    /// Why a consumer gives a message up.
    Buried "reason" {
        Attempts = "attempts",
        Undecodable = "undecodable",
        /// It would not be recognised any more.
        TooOld = "too_old",
        /// By its handler.
        Rejected = "rejected",
        Expired = "expired",
    }
    /// What was deleted because it is old.
    Pruned "what" {
        Messages = "messages",
        /// Fence rows of calls that had nothing to send.
        Withheld = "withheld",
        /// Records of consumers.
        Inbox = "inbox",
    }
    /// Why the store did not do something.
    StoreTrouble "kind" {
        Connection = "connection",
        Timeout = "timeout",
        /// Others were in the way: locks, deadlocks, transactions that can't be serialized.
        Serialization = "serialization",
        Other = "other",
    }
    /// Of a message that is not finished.
    State "state" {
        Half = "half",
        Confirmed = "confirmed",
        Parked = "parked",
        Dead = "dead",
    }
    /// Of a message that is not finished, and waits for nobody.
    DueState "state" {
        Half = "half",
        Confirmed = "confirmed",
    }
    /// Which of a consumer's queues.
    QueueKind "kind" {
        Ready = "ready",
        Retry = "retry",
        Dead = "dead",
    }
    /// The way of a message to the relay.
    RelayPath "path" {
        Memory = "memory",
        Table = "table",
    }
    /// What is asked of the store.
    Statement "statement" {
        StoreHalves = "store_halves",
        Transitions = "transitions",
        Renewals = "renewals",
        Releases = "releases",
        ClaimHalves = "claim_halves",
        ClaimConfirmed = "claim_confirmed",
        /// Of the janitor and the operators.
        Upkeep = "upkeep",
        Gauges = "gauges",
    }
    /// What goes together in one statement.
    Batch "what" {
        Half = "half",
        Relay = "relay",
        Report = "report",
    }
}
