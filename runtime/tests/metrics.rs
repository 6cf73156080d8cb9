//! What is counted when, as an exporter for Prometheus shows it. In a binary of its own, because a process has one recorder.
#![cfg(feature = "testing")]

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::oneshot;
use transactional_message::{
    Call, Consumer, Message, MessageState, Messenger, Received, Settings, begin, telemetry, withhold,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn record() -> PrometheusHandle {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in telemetry::buckets() {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds).expect("has bounds");
    }
    builder.install_recorder().expect("the only one")
}

/// The value of a series; without one, it is not there.
fn value(metrics: &PrometheusHandle, series: &str) -> Option<f64> {
    let text = metrics.render();
    let line =
        text.lines().find_map(|line| line.strip_prefix(&format!("transactional_message_{series} ")))?;
    Some(line.parse().expect("a number"))
}

/// Waits until a series has that value.
async fn becomes(metrics: &PrometheusHandle, series: &str, wanted: f64) {
    until(&format!("{series} to be {wanted}"), || value(metrics, series) == Some(wanted)).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), waiting).await.is_ok();
    assert!(in_time, "waited in vain for {what}");
}

async fn book(_: &mut SqliteConnection, message: Received) -> Result<(), BoxError> {
    if message.routing_key == "order.odd" { Err("it is odd".into()) } else { Ok(()) }
}

fn call(exchange: &str, key: &str) -> Call {
    Call::new("pay").fence_named("shop").message(Message::bytes(exchange, key, "text/plain", "one"))
}

async fn commit(db: &SqlitePool) -> Result<(), BoxError> {
    let mut tx = begin(db).await?;
    sqlx::query("INSERT INTO paid DEFAULT VALUES").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

#[tokio::test]
async fn what_happens_is_counted_and_what_has_not_happened_yet_is_0() {
    let metrics = record();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shop.db");
    let db = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", file.display())).await.expect("opens");
    sqlx::query("CREATE TABLE paid (id INTEGER PRIMARY KEY)").execute(&db).await.expect("creates");
    let messenger = Messenger::builder(&db)
        .settings(Settings::default().delivery_attempts(2))
        .fence("shop", &db)
        .consumer(Consumer::new("books", db.clone(), book).bind("orders", "order.*"))
        .build()
        .await
        .expect("builds");
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");

    becomes(&metrics, "messages{state=\"parked\"}", 0.0).await;
    becomes(&metrics, "unanswerable_messages{name=\"shop\"}", 0.0).await;
    for series in [
        "check_backs_total{name=\"shop\",outcome=\"unknown\"}",
        "parked_total{name=\"shop\"}",
        "delivered_total{exchange=\"orders\"}",
        "delivery_failures_total{exchange=\"orders\",reason=\"unroutable\"}",
        "dead_total{exchange=\"orders\"}",
        "consumed_total{queue=\"books\",result=\"ok\"}",
        "worker_panics_total{worker=\"relay\"}",
        "overruled_total{by=\"fence\"}",
    ] {
        becomes(&metrics, series, 0.0).await;
    }
    assert_eq!(value(&metrics, "calls_total{function=\"pay\",outcome=\"ok\"}"), None);

    calls_end_in_every_way(&messenger, &db).await;
    for outcome in ["ok", "err", "withheld", "panicked", "dropped", "not_run"] {
        becomes(&metrics, &format!("calls_total{{function=\"pay\",outcome=\"{outcome}\"}}"), 1.0).await;
    }
    becomes(&metrics, "delivered_total{exchange=\"orders\"}", 1.0).await;
    becomes(&metrics, "consumed_total{queue=\"books\",result=\"ok\"}", 1.0).await;
    becomes(&metrics, "handler_duration_seconds_count{queue=\"books\",result=\"ok\"}", 1.0).await;
    becomes(&metrics, "end_to_end_seconds_count{queue=\"books\"}", 1.0).await;
    becomes(&metrics, "delivery_delay_seconds_count{path=\"memory\"}", 1.0).await;
    becomes(&metrics, "publish_duration_seconds_bucket{exchange=\"orders\",le=\"+Inf\"}", 1.0).await;
    // Those that failed, panicked and were dropped: nobody knows how they ended but the fence.
    becomes(&metrics, "check_backs_total{name=\"shop\",outcome=\"cancel\"}", 3.0).await;

    for (exchange, key, reason) in
        [("nowhere", "order.new", "unroutable"), ("orders", "order.odd", "handler")]
    {
        messenger.call(call(exchange, key), commit(&db)).await.expect("is paid");
        let failures = format!("delivery_failures_total{{exchange=\"{exchange}\",reason=\"{reason}\"}}");
        becomes(&metrics, &failures, 2.0).await;
        becomes(&metrics, &format!("dead_total{{exchange=\"{exchange}\"}}"), 1.0).await;
    }
    becomes(&metrics, "handler_duration_seconds_count{queue=\"books\",result=\"failed\"}", 2.0).await;

    a_person_is_overruled(&messenger, &db).await;
    becomes(&metrics, "overruled_total{by=\"fence\"}", 1.0).await;

    let forgotten = messenger.call(call("orders", "order.new"), async { Ok::<_, BoxError>(()) }).await;
    forgotten.expect("returns Ok, without a transaction");
    becomes(&metrics, "parked_total{name=\"nobody\"}", 1.0).await;
    becomes(&metrics, "reports_total{event=\"parked\"}", 1.0).await;
    a_store_that_is_silent_shows(&metrics, &db).await;
    assert!(messenger.shutdown(Duration::from_secs(10)).await);
}

/// Looks every 15 s. One that fails changes nothing but the age of the last contact.
async fn a_store_that_is_silent_shows(metrics: &PrometheusHandle, db: &SqlitePool) {
    becomes(metrics, "messages{state=\"parked\"}", 1.0).await;
    becomes(metrics, "messages{state=\"dead\"}", 2.0).await;
    let age = || value(metrics, "store_contact_age_seconds").expect("is there");
    assert!(age() < 5.0, "{}", age());
    sqlx::query("ALTER TABLE tm_message RENAME TO elsewhere").execute(db).await.expect("renames");
    until("the store to be silent", || age() > 5.0).await;
    assert_eq!(value(metrics, "messages{state=\"parked\"}"), Some(1.0));
    assert!(value(metrics, "store_errors_total{kind=\"other\"}") > Some(0.0), "{}", metrics.render());
    sqlx::query("ALTER TABLE elsewhere RENAME TO tm_message").execute(db).await.expect("renames");
    until("the store to answer", || age() < 5.0).await;
}

/// A message is parked whose transaction has committed.
async fn a_person_is_overruled(messenger: &Messenger, db: &SqlitePool) {
    let (ours, theirs, (begun, begins)) = (messenger.clone(), db.clone(), oneshot::channel());
    let running = tokio::spawn(async move {
        let body = async {
            commit(&theirs).await?;
            begun.send(()).expect("somebody listens");
            std::future::pending::<Result<(), BoxError>>().await
        };
        ours.call(call("orders", "order.new"), body).await
    });
    begins.await.expect("begins");
    sqlx::query("UPDATE tm_message SET state = 4 WHERE state = 0").execute(db).await.expect("parks");
    let parked = messenger.admin().list(MessageState::Parked, None, 10).await.expect("lists");
    let [parked] = &parked[..] else { panic!("{parked:?}") };
    messenger.admin().cancel(parked.id, "surely").await.expect_err("its fence says otherwise");
    messenger.admin().confirm(parked.id, "then so").await.expect("is confirmed");
    running.abort();
    assert!(running.await.expect_err("is aborted").is_cancelled());
}

async fn calls_end_in_every_way(messenger: &Messenger, db: &SqlitePool) {
    let new = || call("orders", "order.new");
    messenger.call(new(), commit(db)).await.expect("is paid");
    let failed: Result<(), BoxError> = messenger.call(new(), async { Err("no money".into()) }).await;
    failed.expect_err("is refused");
    let withheld = async {
        withhold()?;
        Ok::<_, BoxError>(())
    };
    messenger.call(new(), withheld).await.expect("has nothing to send");
    let (ours, mine) = (messenger.clone(), new());
    let panics = tokio::spawn(async move {
        ours.call(mine, async {
            if true { panic!("a bug of the application's") } else { Ok::<_, BoxError>(()) }
        })
        .await
    });
    assert!(panics.await.expect_err("panics").is_panic());
    let (ours, mine, (begun, begins)) = (messenger.clone(), new(), oneshot::channel());
    let dropped = tokio::spawn(async move {
        let body = async {
            begun.send(()).expect("somebody listens");
            std::future::pending::<Result<(), BoxError>>().await
        };
        ours.call(mine, body).await
    });
    begins.await.expect("begins");
    dropped.abort();
    assert!(dropped.await.expect_err("is aborted").is_cancelled());
    let stranger = Call::new("pay").fence_named("another").message(Message::bytes(
        "orders",
        "order.new",
        "text/plain",
        "one",
    ));
    let not_run: Result<(), BoxError> = messenger.call(stranger, async { Ok(()) }).await;
    not_run.expect_err("there is no such fence");
}
