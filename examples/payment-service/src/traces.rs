//! Traces: from the caller's request to the voucher, over both processes. They go by OTLP to where the settings say; if these say
//! nothing, spans are only what a line of the log stands in.

use anyhow::Context;
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::KeyValue;
use opentelemetry::global;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::Empty;
use tracing::{Instrument, Subscriber, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

/// What sends them, in a thread of its own. Shut it down at the end, or the last ones are lost.
///
/// The SDK knows more settings from the environment: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER` and others.
pub(crate) fn export(endpoint: &str, service: &str) -> anyhow::Result<SdkTracerProvider> {
    // Who calls us, and whom we call, has the context of a trace in `traceparent`.
    global::set_text_map_propagator(TraceContextPropagator::new());
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(&endpoint).build();
    let exporter = exporter.with_context(|| format!("traces can't be sent to {endpoint}"))?;
    let process = KeyValue::new("service.instance.id", Uuid::new_v4().to_string());
    let resource = Resource::builder().with_service_name(service.to_owned()).with_attribute(process).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Makes traces of the program's spans.
pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer("payment-service"))
}

/// A request has a span, which belongs to the caller's trace.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let method = request.method().as_str();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    let callers = global::get_text_map_propagator(|known| known.extract(&Headers(request.headers())));
    // It fails if no traces are made.
    let _ = span.set_parent(callers);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}

/// As the propagator reads them.
struct Headers<'r>(&'r HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}
