//! The HTTP interface of both sides.

mod failure;
mod health;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{self, Path};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use transactional_message::Messenger;
use uuid::Uuid;

use crate::accounting::{self, Voucher};
use crate::config::{Config, Side};
use crate::database::Database;
use crate::payments::{self, Paid, Pay, Payment};
use crate::traces;
use failure::Failure;

/// How many payments or vouchers a listing shows.
const NEWEST: u32 = 100;

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) payments: Database,
    pub(crate) accounting: Database,
    pub(crate) messenger: Messenger,
    pub(crate) metrics: PrometheusHandle,
}

/// Serves until the process is told to stop, and the requests under way are answered or `patience`
/// is at its end. Says how much of it is left.
pub(crate) async fn serve(config: &Config, state: State, patience: Duration) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "{} can't be listened on: stop what listens there, or choose another address of this machine with --listen",
            config.listen
        )
    })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopping = CancellationToken::new();
    invite(config, listener.local_addr()?);
    let server = axum::serve(listener, routes(config).with_state(state))
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        ended = &mut server => ended??,
    }
    tracing::info!("shutting down");
    stopping.cancel();
    let deadline = Instant::now() + patience;
    if timeout_at(deadline, &mut server).await.is_err() {
        tracing::warn!("requests are still under way; not waiting any longer");
        server.abort();
    }
    Ok(deadline - Instant::now())
}

fn routes(config: &Config) -> Router<State> {
    let mut routes = Router::new();
    if config.runs(Side::Payments) {
        routes = routes
            .route("/payments", post(pay).get(list_payments))
            .route("/payments/{id}", get(show_payment));
    }
    if config.runs(Side::Accounting) {
        routes = routes.route("/vouchers", get(list_vouchers)).route("/vouchers/{id}", get(show_voucher));
    }
    routes
        .route_layer(from_fn(traces::request))
        // Of what probes ask every few seconds nobody wants a trace.
        .route("/messages", get(health::count_messages))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::render_metrics))
        .fallback(no_such_route)
}

/// Says what to try next.
#[expect(clippy::print_stdout, reason = "for the person who started the service")]
fn invite(config: &Config, address: SocketAddr) {
    if config.runs(Side::Payments) {
        let id = Uuid::new_v4();
        println!(
            r#"payment-service listens on http://{address}. Pay an order:

  curl -i http://{address}/payments -H 'content-type: application/json' \
    -d '{{"payment_id": "{id}", "order_id": "order-1", "account": "alice", "amount_cents": 2500}}'

and look at the voucher that accounting booked for it:

  curl http://{address}/vouchers/{id}
"#
        );
    } else {
        println!(
            "accounting listens on http://{address}. Look at its vouchers:\n\n  curl http://{address}/vouchers\n"
        );
    }
}

/// The answer to a payment.
#[derive(Serialize)]
struct Receipt {
    payment_id: Uuid,
    status: &'static str,
}

type Shared = extract::State<State>;

async fn pay(
    extract::State(state): Shared,
    command: Result<Json<Pay>, JsonRejection>,
) -> Result<(StatusCode, Json<Receipt>), Failure> {
    let Json(command) =
        command.map_err(|error| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error.body_text()))?;
    let payment_id = command.payment_id;
    let status = match payments::pay(&state.payments, command).await? {
        Paid::Now => StatusCode::CREATED,
        Paid::Before => StatusCode::OK,
    };
    Ok((status, Json(Receipt { payment_id, status: "paid" })))
}

async fn list_payments(extract::State(state): Shared) -> Result<Json<Vec<Payment>>, Failure> {
    Ok(Json(payments::newest(&state.payments, NEWEST).await?))
}

async fn show_payment(
    extract::State(state): Shared,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Payment>, Failure> {
    found(payments::find(&state.payments, known(id)?).await?)
}

async fn list_vouchers(extract::State(state): Shared) -> Result<Json<Vec<Voucher>>, Failure> {
    Ok(Json(accounting::newest(&state.accounting, NEWEST).await?))
}

async fn show_voucher(
    extract::State(state): Shared,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<Voucher>, Failure> {
    found(accounting::find(&state.accounting, known(id)?).await?)
}

fn known(id: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, Failure> {
    id.map(|Path(id)| id).map_err(|_| Failure::new(StatusCode::NOT_FOUND, "an id is a UUID"))
}

async fn no_such_route() -> Failure {
    let text = "there is nothing here: try /payments, /vouchers, /messages, /healthz, /readyz or /metrics";
    Failure::new(StatusCode::NOT_FOUND, text)
}

fn found<T>(one: Option<T>) -> Result<Json<T>, Failure> {
    one.map(Json).ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "there is none with this id"))
}
