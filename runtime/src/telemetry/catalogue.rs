//! The catalogue: every metric of this crate. Nobody else names one.

use metrics::{Counter, Gauge, Histogram};

use super::family::{AnyFamily, Family};
use super::labels::{
    Answer, Batch, Buried, CallOutcome, Consumed, Decided, DueState, Handled, NotDelivered, Overruler,
    Pruned, QueueKind, RelayPath, Reported, State, Statement, StoreTrouble,
};
use super::metric::Metric;

/// Up to 10 s.
const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Up to an hour.
const LONG: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0,
];
const MESSAGES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A set of statics, and the list of them.
macro_rules! catalogue {
    ($($name:ident: $handle:ident<$values:ty> = $metric:expr;)*) => {
        $(pub(crate) static $name: Family<$handle, $values> = Family::new($metric);)*

        /// All of them, but for [`BUILD_INFO`].
        pub(super) static ALL: &[&dyn AnyFamily] = &[$(&$name),*];
    };
}

catalogue! {
    // Calls, and what becomes of their halves.
    CALLS: Counter<CallOutcome> = Metric::counter("transactional_message_calls_total", &["function", "outcome"],
        "Calls of annotated functions, by how they ended; not_run: the half message could not be stored, or the caller left");
    REPORTS: Counter<Reported> = Metric::counter("transactional_message_reports_total", &["event"],
        "Messages that reports of ended calls were about, by what they were to become");
    CHECK_BACKS: Counter<Answer> = Metric::counter("transactional_message_check_backs_total", &["name", "outcome"],
        "Answers of fences and check-back handlers");
    OVERRULED: Counter<Overruler> = Metric::counter("transactional_message_overruled_total", &["by"],
        "Reports that came after the message was decided otherwise, and people's decisions that a fence contradicts");
    PARKED: Counter<()> = Metric::counter("transactional_message_parked_total", &["name"],
        "Half messages that were parked for an operator, by the fence or handler that had no answer; nobody: those that were not asked about");
    DEAD: Counter<()> = Metric::counter("transactional_message_dead_total", &["exchange"],
        "Confirmed messages that were given up, and wait for an operator");
    DECISIONS: Counter<Decided> = Metric::counter("transactional_message_decisions_total", &["via", "action"],
        "What people decided about messages through this process, and by what means: console, cli, code");
    EXPIRED: Counter<()> = Metric::counter("transactional_message_expired_total", &[],
        "Messages whose time was over before they could be delivered");
    HALF_DURATION: Histogram<()> = Metric::histogram("transactional_message_half_duration_seconds", &[], SHORT,
        "How long callers waited for their half messages to be stored").seconds();
    CHECK_BACK_DURATION: Histogram<()> = Metric::histogram("transactional_message_check_back_duration_seconds", &["name"], SHORT,
        "How long a fence or a check-back handler took to answer; a fence is asked about many calls at once").seconds();
    CALLS_IN_PROGRESS: Gauge<()> = Metric::gauge("transactional_message_calls_in_progress", &[],
        "Calls under way in this process, and messages that their bodies have decided on");

    // Delivery.
    DELIVERED: Counter<()> = Metric::counter("transactional_message_delivered_total", &["exchange"],
        "Messages that the transport has taken, and the store knows it");
    DELIVERY_FAILURES: Counter<NotDelivered> = Metric::counter("transactional_message_delivery_failures_total", &["exchange", "reason"],
        "Attempts to deliver that failed and counted; a broker that is away counts none");
    PUBLISH_DURATION: Histogram<()> = Metric::histogram("transactional_message_publish_duration_seconds", &["exchange"], SHORT,
        "From sending a message to the transport's confirmation; within the process, its handler included").seconds();
    DELIVERY_DELAY: Histogram<RelayPath> = Metric::histogram("transactional_message_delivery_delay_seconds", &["path"], LONG,
        "From the confirmation of a message to the transport's; of what came from the table, since it was stored or its delay was over").seconds();
    RELAY_QUEUE: Gauge<()> = Metric::gauge("transactional_message_relay_queue_messages", &[],
        "Confirmed messages that wait in the memory of this process to be published");
    RELAY_WINDOW: Gauge<()> = Metric::gauge("transactional_message_relay_window_messages", &[],
        "Messages that this process is publishing");
    BROKER_UP: Gauge<()> = Metric::gauge("transactional_message_broker_up", &[],
        "1 while this process has a connection to RabbitMQ for publishing, 0 while it has none");
    BROKER_BLOCKED: Gauge<()> = Metric::gauge("transactional_message_broker_blocked", &[],
        "1 while RabbitMQ takes no messages from this process: a memory or disk alarm");

    // Consumers.
    CONSUMED: Counter<Consumed> = Metric::counter("transactional_message_consumed_total", &["queue", "result"],
        "Messages whose effect is committed; repeated: it had happened before");
    CONSUMER_RETRIES: Counter<()> = Metric::counter("transactional_message_consumer_retries_total", &["queue"],
        "Failed messages that a consumer of RabbitMQ's queue put into a retry queue");
    CONSUMER_DEAD: Counter<Buried> = Metric::counter("transactional_message_consumer_dead_total", &["queue", "reason"],
        "Messages that a consumer of RabbitMQ's queue put to its dead letters");
    CONSUMER_WAITING: Gauge<()> = Metric::gauge("transactional_message_consumer_waiting", &["queue"],
        "Messages that wait because their consumer can't write to its inbox");
    DEAD_LETTERS: Gauge<()> = Metric::gauge("transactional_message_dead_letters", &["queue"],
        "Messages in a consumer's queue of dead letters, which is the label");
    QUEUE_MESSAGES: Gauge<QueueKind> = Metric::gauge("transactional_message_queue_messages", &["queue", "kind"],
        "Messages in a consumer's queue at RabbitMQ, in its retry queues, and in its dead letters; looked at every 10 s, and not while the broker is away");
    HANDLER_DURATION: Histogram<Handled> = Metric::histogram("transactional_message_handler_duration_seconds", &["queue", "result"], SHORT,
        "How long a consumer's handler took").seconds();
    END_TO_END: Histogram<()> = Metric::histogram("transactional_message_end_to_end_seconds", &["queue"], LONG,
        "From the making of a message, or the end of its delay, to its committed effect; by the clocks of two machines").seconds();

    // The store.
    MESSAGES_NOW: Gauge<State> = Metric::gauge("transactional_message_messages", &["state"],
        "Messages in the store that are not finished; counting stops at 100000 a state");
    OLDEST: Gauge<State> = Metric::gauge("transactional_message_oldest_seconds", &["state"],
        "Age of the oldest of the messages counted; that of one with a delay begins when the delay is over").seconds();
    OLDEST_DUE: Gauge<DueState> = Metric::gauge("transactional_message_oldest_due_seconds", &["state"],
        "The lag: for how long the first of the messages counted has been due, and nobody has taken it up; one that waits for its next attempt is not due").seconds();
    OLDEST_UNFINISHED: Gauge<()> = Metric::gauge("transactional_message_oldest_unfinished_seconds", &[],
        "Age of the oldest half or confirmed message; that of one with a delay begins when the delay is over").seconds();
    UNANSWERABLE: Gauge<()> = Metric::gauge("transactional_message_unanswerable_messages", &["name"],
        "Half messages that have been due for more than a minute, and no process asks about them");
    PAUSED: Gauge<()> = Metric::gauge("transactional_message_paused", &["what"],
        "1 while a person's pause is in force, which this process obeys: all, check_backs, exchange:NAME, queue:NAME");
    STORE_CONTACT_AGE: Gauge<()> = Metric::gauge("transactional_message_store_contact_age_seconds", &[],
        "For how long the store has not answered this process").seconds();
    STORE_DURATION: Histogram<Statement> = Metric::histogram("transactional_message_store_duration_seconds", &["statement"], SHORT,
        "How long the store took").seconds();
    STORE_ERRORS: Counter<StoreTrouble> = Metric::counter("transactional_message_store_errors_total", &["kind"],
        "What was asked of the store and not done");
    BATCH_MESSAGES: Histogram<Batch> = Metric::histogram("transactional_message_batch_messages", &["what"], MESSAGES,
        "Messages that went to the store together");
    LEASES_HELD: Gauge<()> = Metric::gauge("transactional_message_leases_held", &[],
        "Messages that this process holds");
    LEASES_LOST: Counter<()> = Metric::counter("transactional_message_leases_lost_total", &[],
        "Messages that this process left alone, since it could not be sure any more that it holds them: a renewal was late");
    PRUNED: Counter<Pruned> = Metric::counter("transactional_message_pruned_total", &["what"],
        "Rows that were deleted because they are old");
    WORKER_PANICS: Counter<()> = Metric::counter("transactional_message_worker_panics_total", &["worker"],
        "Panics of this crate's own tasks: bugs, to be reported");
}

/// Always 1.
pub(super) static BUILD_INFO: Metric = Metric::gauge(
    "transactional_message_build_info",
    &["version", "store", "transport"],
    "The version of this crate, and what it works with; always 1",
);
