//! The context of a trace, which goes with a message in its headers: `traceparent` and `tracestate`, as W3C Trace Context
//! has them. So a trace leads from the request that sent a message to its effect.
//!
//! Without the feature `opentelemetry` nothing of it is done.

use std::time::Duration;

#[cfg(not(feature = "opentelemetry"))]
use tracing::Span;

/// For how long a trace goes on by itself: later, what belongs to it is only linked.
const FRESH: Duration = Duration::from_mins(5);

/// Whether what a consumer does belongs to the trace in which the message was sent, for
/// [`Consumer::trace_continuation`](crate::Consumer::trace_continuation). It is linked to it in any case.
///
/// Only with the feature `opentelemetry`. A batch of several messages has a trace of its own, with a link to each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceContinuation {
    /// `Parent` for the first attempt, if the message was sent less than five minutes ago; else `Link`. So the ordinary trace
    /// is one picture, and a retry days later doesn't stretch one that backends have closed.
    #[default]
    Auto,
    /// Each attempt belongs to the trace, whenever it happens.
    Parent,
    /// Each attempt has a trace of its own: where sender and consumer belong to different people, or are sampled apart.
    Link,
}

impl TraceContinuation {
    pub(super) fn continues(self, attempt: u32, sent_ago: Option<Duration>) -> bool {
        match self {
            Self::Auto => attempt == 1 && sent_ago.is_some_and(|ago| ago < FRESH),
            Self::Parent => true,
            Self::Link => false,
        }
    }
}

/// Puts the span's context into the headers of a message, unless the user has put one there. Says whether it did.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) const fn inject(_: &Span, _: &mut Vec<(String, String)>) -> bool {
    false
}

/// Continues, by a span that was not entered yet, what is in the headers: as its child if it is `fresh`, or else only linked to
/// it, so that a retry days later doesn't stretch a trace that backends have closed.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) const fn follow(_: &Span, _: &[(String, String)], _: bool) {}

#[cfg(feature = "opentelemetry")]
pub(crate) use with_opentelemetry::{follow, inject};

#[cfg(feature = "opentelemetry")]
mod with_opentelemetry {
    use std::collections::HashMap;

    use opentelemetry::Context;
    use opentelemetry::global::get_text_map_propagator;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    const TRACEPARENT: &str = "traceparent";
    const TRACESTATE: &str = "tracestate";
    /// More bytes than that are not stored with each message: then baggage stays behind,
    const MOST: usize = 1024;
    /// and `tracestate`, if it alone has more than this, which W3C asks everybody to pass on.
    const MOST_OF_STATE: usize = 512;

    pub(crate) fn inject(span: &Span, headers: &mut Vec<(String, String)>) -> bool {
        if value(headers, TRACEPARENT).is_some() {
            return false;
        }
        let Some((context, of_span)) = of(span) else { return false };
        // What the application has chosen, baggage among it; it may have chosen nothing.
        let mut carrier = HashMap::new();
        get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut carrier));
        if !carrier.contains_key(TRACEPARENT) {
            carrier.insert(TRACEPARENT.to_owned(), written(&of_span));
            carrier.insert(TRACESTATE.to_owned(), of_span.trace_state().header());
        }
        limit(&mut carrier);
        carrier.retain(|name, text| !text.is_empty() && value(headers, name).is_none());
        headers.extend(carrier);
        true
    }

    fn limit(carrier: &mut HashMap<String, String>) {
        carrier.retain(|name, value| name != TRACESTATE || value.len() <= MOST_OF_STATE);
        if carrier.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST {
            carrier.retain(|name, _| [TRACEPARENT, TRACESTATE].contains(&name.as_str()));
        }
    }

    /// The context of a span; or, if nobody records that one, of what is around it.
    fn of(span: &Span) -> Option<(Context, SpanContext)> {
        let around = || [Span::current().context(), Context::current()];
        [span.context()].into_iter().chain(around()).find_map(|context| {
            let of_span = context.span().span_context().clone();
            of_span.is_valid().then_some((context, of_span))
        })
    }

    pub(crate) fn follow(span: &Span, headers: &[(String, String)], fresh: bool) {
        if span.is_disabled() || value(headers, TRACEPARENT).is_none() {
            return;
        }
        let carrier: HashMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let extracted =
            get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &carrier));
        let known = extracted.span().span_context().clone();
        let Some(of_message) = Some(known).filter(SpanContext::is_valid).or_else(|| read(headers)) else {
            return;
        };
        if fresh {
            // Before the span has begun, so it can't fail; and if it does, the link is there.
            let _ = span.set_parent(extracted.with_remote_span_context(of_message.clone()));
        }
        span.add_link(of_message);
    }

    fn value<'h>(headers: &'h [(String, String)], wanted: &str) -> Option<&'h str> {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }

    fn written(context: &SpanContext) -> String {
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
        format!("00-{trace}-{span}-{flags:02x}")
    }

    /// Other people's texts: what makes no sense is no context.
    fn read(headers: &[(String, String)]) -> Option<SpanContext> {
        let mut parts = value(headers, TRACEPARENT)?.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex =
            |text: &str, digits| text.len() == digits && text.chars().all(|one| one.is_ascii_hexdigit());
        if !(is_hex(version, 2)
            && version != "ff"
            && is_hex(trace, 32)
            && is_hex(span, 16)
            && is_hex(flags, 2))
        {
            return None;
        }
        let state = value(headers, TRACESTATE).and_then(|state| state.parse::<TraceState>().ok());
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
            true,
            state.unwrap_or_default(),
        );
        context.is_valid().then_some(context)
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        use super::*;

        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

        fn headers(parent: &str) -> Vec<(String, String)> {
            vec![("Traceparent".into(), parent.into()), ("tracestate".into(), "vendor=1".into())]
        }

        #[test]
        fn what_is_written_is_read() {
            let context = read(&headers(PARENT)).expect("is a context");
            assert!(
                context.is_remote() && context.is_sampled() && context.trace_state().header() == "vendor=1"
            );
            assert_eq!(written(&context), PARENT);
            for parent in ["", "00", "00-0-0-01", &PARENT.replace("00-", "ff-"), &PARENT.replace('b', "g")] {
                assert!(read(&headers(parent)).is_none(), "{parent}");
            }
            let nothing = "00-00000000000000000000000000000000-0000000000000000-00";
            assert!(read(&headers(nothing)).is_none());
        }

        #[test]
        fn what_is_too_much_stays_behind() {
            for (state, baggage, kept) in
                [(512, 10, 3), (513, 10, 2), (512, 600, 2), (513, 600, 2), (513, 1000, 1)]
            {
                let of = |name: &str, text: &str| (name.to_owned(), text.to_owned());
                let (state, baggage) = ("s".repeat(state), "b".repeat(baggage));
                let mut carrier =
                    HashMap::from([of(TRACEPARENT, PARENT), of(TRACESTATE, &state), of("baggage", &baggage)]);
                limit(&mut carrier);
                assert_eq!(carrier.len(), kept, "{carrier:?}");
                assert!(carrier.contains_key(TRACEPARENT));
                assert!(carrier.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= MOST);
            }
        }

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn any_header_is_taken(text in prop::collection::vec(any::<char>(), 0..80)) {
                let parent: String = text.into_iter().collect();
                let _ = read(&headers(&parent));
                follow(&Span::none(), &headers(&parent), true);
            }
        }
    }
}
