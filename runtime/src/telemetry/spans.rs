//! Spans: what is going on, and about which message, so that each line that a handler logs names its message.
//!
//! Plain spans of `tracing`. `otel.name` and `otel.kind` are what tracing-opentelemetry makes of them, by the conventions of
//! OpenTelemetry for messaging. Nobody listens: nothing is made, not even their texts.

use std::fmt::Display;
use std::time::Duration;

use tracing::{Span, debug_span, info_span};

use super::context::{self, TraceContinuation};

/// A call's half messages are being stored.
pub(crate) fn create(function: &str, exchange: &str, call: impl Display) -> Span {
    info_span!(
        target: "transactional_message",
        "create",
        otel.name = format!("create {exchange}"),
        otel.kind = "producer",
        call.id = %call,
        function,
        exchange,
    )
}

/// A handler is asked about a half message.
pub(crate) fn check_back(
    handler: &str,
    headers: &[(String, String)],
    message: impl Display,
    call: impl Display,
    questions: u32,
) -> Span {
    let span = info_span!(
        target: "transactional_message",
        "check_back",
        otel.name = format!("check back {handler}"),
        message.id = %message,
        call.id = %call,
        handler,
        questions,
    );
    context::follow(&span, headers, false);
    span
}

/// A message is being published, at first in the trace in which it was sent. Many at a time are: nobody but whoever looks into it
/// wants a line for each.
pub(crate) fn publish(
    (exchange, headers): (&str, &[(String, String)]),
    message: impl Display,
    attempt: u32,
    sent_ago: impl FnOnce() -> Option<Duration>,
) -> Span {
    let span = debug_span!(
        target: "transactional_message",
        "publish",
        otel.name = format!("publish {exchange}"),
        otel.kind = "client",
        message.id = %message,
        exchange,
        attempt,
    );
    let continues = !span.is_disabled() && TraceContinuation::Auto.continues(attempt, sent_ago());
    context::follow(&span, headers, continues);
    span
}

/// A consumer handles a message, perhaps in the trace in which the message was sent.
pub(crate) fn process(
    queue: &str,
    (exchange, headers): (&str, &[(String, String)]),
    message: impl Display,
    (attempt, sent_ago): (u32, Option<Duration>),
    continuation: TraceContinuation,
) -> Span {
    let span = info_span!(
        target: "transactional_message",
        "process",
        otel.name = format!("process {exchange}"),
        otel.kind = "consumer",
        message.id = %message,
        queue,
        attempt,
    );
    context::follow(&span, headers, continuation.continues(attempt, sent_ago));
    span
}

/// A consumer handles several messages in one transaction, which belongs to the traces of all of them, by links.
pub(crate) fn process_together<'h>(
    queue: &str,
    first: Option<impl Display>,
    headers: impl ExactSizeIterator<Item = &'h [(String, String)]>,
) -> Span {
    let messages = headers.len();
    let span = info_span!(
        target: "transactional_message",
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        first.message.id = first.map(tracing::field::display),
        queue,
        messages,
    );
    headers.for_each(|headers| context::follow(&span, headers, false));
    span
}
