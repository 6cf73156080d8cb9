//! One trace over two processes: from whoever calls, through payments and RabbitMQ, to accounting's voucher.

use std::collections::HashSet;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::MACHINE;
use crate::books::database;
use crate::receiver::{Received, Receiver};
use crate::service::{Service, wait_until};

/// Single deliveries have spans at DEBUG.
const LEVELS: &str = "info,transactional_message=debug";

/// Both sides, each with a database of its own.
struct Sides {
    payments: Service,
    accounting: Service,
    /// Accounting's database.
    books: PgPool,
    receiver: Receiver,
    _servers: (services::Server, services::rabbitmq::Server),
}

impl Sides {
    async fn start() -> Self {
        let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
        let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
        let shop = database(postgres.url(), "shop").await;
        let books = database(postgres.url(), "books").await;
        let receiver = Receiver::start().await;
        let shared = ["--amqp-url", rabbitmq.url(), "--otlp-endpoint", &receiver.url, "--log", LEVELS];
        let side = async |name: &str, database: [&str; 2]| {
            let own = ["--side", name, "--service-name", name];
            Service::start(&[&shared[..], &own, &database].concat()).await
        };
        let accounting = side("accounting", ["--accounting-database-url", &books]).await;
        let payments = side("payments", ["--database-url", &shop]).await;
        let books = PgPool::connect(&books).await.expect("connects");
        Self { payments, accounting, books, receiver, _servers: (postgres, rabbitmq) }
    }

    /// Pays, within the trace of whoever calls; the payment.
    async fn pay(&self, traceparent: &str) -> Uuid {
        let id = Uuid::new_v4();
        let body = json!({ "payment_id": id, "order_id": "order", "account": "alice", "amount_cents": 1 });
        let request = reqwest::Client::new().post(format!("{}/payments", self.payments.url)).json(&body);
        let answer = request.header("traceparent", traceparent).send().await.expect("answers");
        assert_eq!(answer.status(), 201);
        id
    }

    async fn is_booked(&self, payment: Uuid) {
        let found = async || self.accounting.get(&format!("vouchers/{payment}")).await.is_ok();
        wait_until("the voucher", found).await;
    }

    /// At their end, both send what they have.
    async fn stop(self) -> Receiver {
        assert!(self.payments.stop().await.success());
        assert!(self.accounting.stop().await.success());
        self.receiver
    }
}

/// The ids of a trace, and of a span of the caller's; and both as the caller says them.
fn callers() -> (Vec<u8>, Vec<u8>, String) {
    let trace = Uuid::new_v4();
    let (_, span) = trace.as_u64_pair();
    let traceparent = format!("00-{}-{span:016x}-01", trace.simple());
    (trace.as_bytes().to_vec(), span.to_be_bytes().to_vec(), traceparent)
}

#[track_caller]
fn is(span: &Received, service: &str, kind: SpanKind) {
    assert_eq!((&*span.service, span.span.kind()), (service, kind), "{}", span.span.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_leads_from_the_callers_request_to_the_voucher() {
    let _shared = MACHINE.read().await;
    let sides = Sides::start().await;
    let (trace, caller, traceparent) = callers();
    let payment = sides.pay(&traceparent).await;
    sides.is_booked(payment).await;
    let receiver = sides.stop().await;

    let request = receiver.one("POST /payments");
    is(&request, "payments", SpanKind::Server);
    assert_eq!((&request.span.trace_id, &request.span.parent_span_id), (&trace, &caller));
    let create = receiver.one("create payments");
    is(&create, "payments", SpanKind::Producer);
    assert!(create.is_child_of(&request) && create.span.links.is_empty());
    let publish = receiver.one("publish payments");
    is(&publish, "payments", SpanKind::Client);
    assert!(publish.is_child_of(&create) && publish.is_linked_to(&create));
    let process = receiver.one("process payments");
    is(&process, "accounting", SpanKind::Consumer);
    assert!(process.is_child_of(&create) && process.is_linked_to(&create));
    let book = receiver.one("book");
    is(&book, "accounting", SpanKind::Internal);
    assert!(book.is_child_of(&process));

    let all = [request, create, publish, process, book];
    assert!(all.iter().all(|one| one.span.trace_id == trace));
    assert_eq!(all.iter().map(|one| &one.instance).collect::<HashSet<_>>().len(), 2, "two processes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_has_a_trace_of_its_own_that_is_linked_to_the_first() {
    let _shared = MACHINE.read().await;
    let sides = Sides::start().await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$; \
        CREATE TRIGGER refuse BEFORE INSERT ON voucher FOR EACH ROW EXECUTE FUNCTION refuse()";
    sqlx::raw_sql(refuse).execute(&sides.books).await.expect("runs");
    let (trace, _, traceparent) = callers();
    let payment = sides.pay(&traceparent).await;
    let failed = async || sides.accounting.log().contains("not now");
    wait_until("the first attempt to fail", failed).await;
    sqlx::raw_sql("DROP TRIGGER refuse ON voucher").execute(&sides.books).await.expect("runs");
    sides.is_booked(payment).await;
    let receiver = sides.stop().await;

    let create = receiver.one("create payments");
    assert_eq!(create.span.trace_id, trace);
    let tries = receiver.named("process payments");
    let effects = receiver.named("book");
    assert!(tries.len() > 1, "{:?}", receiver.names());
    assert!(tries.iter().all(|one| one.is_linked_to(&create)));
    assert!(tries[0].is_child_of(&create));
    for (again, effect) in tries.iter().zip(&effects).skip(1) {
        is(again, "accounting", SpanKind::Consumer);
        assert!(again.span.parent_span_id.is_empty() && again.span.trace_id != trace);
        assert!(effect.is_child_of(again));
    }
}
