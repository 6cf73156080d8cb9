//! A receiver of traces, as collectors are: OTLP over HTTP.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// A span, and the process that it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) service: String,
    /// Of the process.
    pub(crate) instance: String,
    pub(crate) span: Span,
}

impl Received {
    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }

    pub(crate) fn is_linked_to(&self, other: &Self) -> bool {
        let to = |of: &Span| (of.trace_id.clone(), of.span_id.clone());
        let mut links = self.span.links.iter().map(|link| (link.trace_id.clone(), link.span_id.clone()));
        links.any(|link| link == to(&other.span))
    }
}

/// Keeps what it gets.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    spans: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let receive = async move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
            kept.lock().expect("unpoisoned").extend(received(request));
        };
        let routes = Router::new().route("/v1/traces", post(receive));
        tokio::spawn(async { axum::serve(listener, routes).await });
        Self { url, spans }
    }

    /// What there is with this name, in the order in which it began.
    pub(crate) fn named(&self, name: &str) -> Vec<Received> {
        let spans = self.spans.lock().expect("unpoisoned");
        let mut named: Vec<_> = spans.iter().filter(|one| one.span.name == name).cloned().collect();
        named.sort_by_key(|one| one.span.start_time_unix_nano);
        named
    }

    /// The only one with this name.
    pub(crate) fn one(&self, name: &str) -> Received {
        let mut named = self.named(name);
        assert_eq!(named.len(), 1, "`{name}`: {:?}", self.names());
        named.remove(0)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.spans.lock().expect("unpoisoned").iter().map(|one| one.span.name.clone()).collect()
    }
}

fn received(request: ExportTraceServiceRequest) -> impl Iterator<Item = Received> {
    request.resource_spans.into_iter().flat_map(|of_process| {
        let attributes = of_process.resource.map(|resource| resource.attributes).unwrap_or_default();
        let text = |name: &str| {
            let found = attributes.iter().find(|one| one.key == name);
            let value = found.and_then(|one| one.value.clone()?.value);
            match value {
                Some(Value::StringValue(text)) => text,
                other => panic!("`{name}` of a process is {other:?}"),
            }
        };
        let (service, instance) = (text("service.name"), text("service.instance.id"));
        let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let with = move |span| Received { service: service.clone(), instance: instance.clone(), span };
        spans.map(with).collect::<Vec<_>>()
    })
}
