//! A trace leads from the request that sent a message to its effect. In a binary of its own, because the tracer is the
//! process's.
#![cfg(all(feature = "testing", feature = "opentelemetry"))]

use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use sqlx::SqliteConnection;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Level};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use transactional_message::{
    Backoff, Call, Consumer, HalfMessage, Message, Messenger, Outcome, RawPayload, Received, Settings,
    TraceContinuation,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Fails the first time for one message.
async fn book(_: &mut SqliteConnection, message: Received) -> Result<(), BoxError> {
    let is_first = message.routing_key == "order.odd" && message.attempt == 1;
    if is_first { Err("not yet".into()) } else { Ok(()) }
}

async fn ask(_: HalfMessage<RawPayload>) -> Result<Outcome, BoxError> {
    Ok(Outcome::Confirm)
}

async fn start(url: &str, continuation: TraceContinuation) -> Messenger {
    let db = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("opens");
    let soon = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    let settings = Settings::default()
        .lease(Duration::from_millis(500))
        .check_after(Duration::ZERO)
        .delivery_backoff(soon)
        .poll_interval(Duration::from_millis(20));
    let messenger = Messenger::builder(url)
        .settings(settings)
        .check_back("carrier", ask)
        .consumer(Consumer::new("accounting", db, book).bind("shop", "#").trace_continuation(continuation))
        .build()
        .await
        .expect("builds");
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");
    messenger
}

/// Sends a message within a request of its own.
async fn request(messenger: &Messenger, name: &'static str, message: Message) {
    let span = tracing::info_span!("request", otel.name = name);
    let call = Call::new("ship").message(message).check_back("carrier");
    messenger.call(call, async { Ok::<(), BoxError>(()) }).instrument(span).await.expect("ok");
}

/// The spans with this name, as soon as there are so many.
async fn spans(exporter: &InMemorySpanExporter, name: &str, count: usize) -> Vec<SpanData> {
    let named = || {
        let spans = exporter.get_finished_spans().expect("keeps them");
        spans.into_iter().filter(|span| span.name == name).collect::<Vec<_>>()
    };
    let there = tokio::time::timeout(Duration::from_mins(1), async {
        while named().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(there.await.is_ok(), "{count} of `{name}`: {:?}", exporter.get_finished_spans());
    named()
}

fn is_linked(span: &SpanData, to: &SpanData) -> bool {
    span.links.iter().any(|link| link.span_context.span_id() == to.span_context.span_id())
}

#[tokio::test]
async fn a_trace_leads_from_a_request_to_the_effect() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _here = tracing_subscriber::registry().with(layer).set_default();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let messenger = start(&url, TraceContinuation::default()).await;

    request(&messenger, "GET /pay", Message::bytes("shop", "order.paid", "text/plain", "one")).await;
    let process = spans(&exporter, "process shop", 1).await.remove(0);
    let create = spans(&exporter, "create shop", 1).await.remove(0);
    let pay = spans(&exporter, "GET /pay", 1).await.remove(0);
    let trace = pay.span_context.trace_id();
    assert_eq!((create.span_context.trace_id(), create.parent_span_id), (trace, pay.span_context.span_id()));
    assert_eq!(
        (process.span_context.trace_id(), process.parent_span_id),
        (trace, create.span_context.span_id())
    );
    assert!(process.parent_span_is_remote && is_linked(&process, &create));
    assert_eq!(
        (create.span_kind.clone(), process.span_kind.clone()),
        (SpanKind::Producer, SpanKind::Consumer)
    );
    let publish = spans(&exporter, "publish shop", 1).await.remove(0);
    assert!(is_linked(&publish, &create) && publish.parent_span_id == create.span_context.span_id());

    // What is tried again has a trace of its own, with a link to the first.
    request(&messenger, "GET /odd", Message::bytes("shop", "order.odd", "text/plain", "two")).await;
    let tries = spans(&exporter, "process shop", 3).await;
    let create = spans(&exporter, "create shop", 2).await.remove(1);
    let (first, again) = (&tries[1], &tries[2]);
    assert_eq!(first.span_context.trace_id(), create.span_context.trace_id());
    assert!(again.span_context.trace_id() != create.span_context.trace_id() && is_linked(again, &create));

    // A context that the user has put there is left as it is.
    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message = Message::bytes("shop", "order.paid", "text/plain", "three").header("traceparent", theirs);
    request(&messenger, "GET /theirs", message).await;
    let process = spans(&exporter, "process shop", 4).await.remove(3);
    assert_eq!(process.span_context.trace_id().to_string(), &theirs[3..35]);

    // A call that nobody reported is asked about in a trace of its own.
    let (reached, wait) = tokio::sync::oneshot::channel();
    let call = Call::new("ship")
        .message(Message::bytes("shop", "order.sent", "text/plain", "four"))
        .check_back("carrier");
    let body = async {
        reached.send(()).expect("waits");
        std::future::pending::<Result<(), BoxError>>().await
    };
    tokio::select! {
        ended = messenger.call(call, body) => panic!("it hangs: {ended:?}"),
        reached = wait => reached.expect("gets there"),
    }
    let asked = spans(&exporter, "check back carrier", 1).await.remove(0);
    let create = spans(&exporter, "create shop", 4).await.remove(3);
    assert!(is_linked(&asked, &create) && asked.parent_span_id == SpanId::INVALID);
    assert!(messenger.shutdown(Duration::from_secs(20)).await);
}

/// Sends a message that is handled twice, and says whether the attempts belong to its trace; they are linked to it.
async fn attempts_continue(continuation: TraceContinuation) -> Vec<bool> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _here = tracing_subscriber::registry().with(layer).set_default();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let messenger = start(&url, continuation).await;
    request(&messenger, "GET /odd", Message::bytes("shop", "order.odd", "text/plain", "one")).await;
    let tries = spans(&exporter, "process shop", 2).await;
    let create = spans(&exporter, "create shop", 1).await.remove(0);
    assert!(messenger.shutdown(Duration::from_secs(20)).await);
    assert!(tries.iter().all(|one| is_linked(one, &create)), "{tries:?}");
    let is_child = |span: &SpanData| {
        let in_trace = span.span_context.trace_id() == create.span_context.trace_id();
        assert_eq!(in_trace, span.parent_span_id == create.span_context.span_id());
        in_trace
    };
    tries.iter().map(is_child).collect()
}

#[tokio::test]
async fn a_consumer_says_whether_its_attempts_belong_to_the_trace() {
    assert_eq!(attempts_continue(TraceContinuation::Auto).await, [true, false]);
    assert_eq!(attempts_continue(TraceContinuation::Parent).await, [true, true]);
    assert_eq!(attempts_continue(TraceContinuation::Link).await, [false, false]);
}

/// What a consumer saw of the context.
static SEEN: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

async fn see(_: &mut SqliteConnection, message: Received) -> Result<(), BoxError> {
    let context = message.headers.iter().find(|(name, _)| name == "traceparent");
    *SEEN.lock().expect("no panic") = context.map(|(_, value)| value.clone());
    Ok(())
}

/// A filter that leaves the crate's own spans out cuts no trace: the context is that of the request.
#[tokio::test]
async fn a_filter_cuts_no_trace() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let theirs =
        Targets::new().with_default(Level::INFO).with_target("transactional_message", LevelFilter::OFF);
    let _here = tracing_subscriber::registry().with(layer.with_filter(theirs)).set_default();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let db = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("opens");
    let consumer = Consumer::new("accounting", db, see).bind("shop", "#");
    let builder = Messenger::builder(url.as_str()).check_back("carrier", ask).consumer(consumer);
    let messenger = builder.build().await.expect("builds");
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");
    request(&messenger, "GET /filtered", Message::bytes("shop", "order.paid", "text/plain", "one")).await;
    let pay = spans(&exporter, "GET /filtered", 1).await.remove(0);
    assert!(messenger.shutdown(Duration::from_secs(20)).await);
    let seen = SEEN.lock().expect("no panic").clone().expect("a context");
    assert!(seen.contains(&pay.span_context.trace_id().to_string()), "{seen}");
    assert!(seen.contains(&pay.span_context.span_id().to_string()), "{seen}");
}
