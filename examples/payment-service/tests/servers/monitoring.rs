//! What operators are given, for real: `promtool` accepts the rules and the service's metrics, and in a live Prometheus the
//! alerts fire when they should, and at no other time.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use amqprs::channel::{Channel, QueueBindArguments, QueueUnbindArguments};
use amqprs::connection::{Connection, OpenConnectionArguments};
use serde_json::{Value, json};
use sqlx::PgPool;
use transactional_message::telemetry;
use uuid::Uuid;

use crate::books::database;
use crate::service::{Service, wait_until};
use crate::watch::{Watch, path, read};
use crate::{MACHINE, mishaps};

const QUEUE: &str = "accounting.vouchers";
/// The most series of one process, by ARCHITECTURE.md; this one has one function, one exchange and one queue.
const SERIES: usize = 1000;
/// What fires because of messages that wait for a person, or for a process that is not there.
const NEED_A_PERSON: [&str; 6] =
    ["CheckBackLate", "Dead", "DeadLetters", "NobodyAnswers", "Parked", "Unroutable"];
/// Between two payments.
const PAUSE: Duration = Duration::from_millis(20);

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(services::prometheus::promtool().expect("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("reads");
    child.wait_with_output().expect("ends")
}

#[track_caller]
fn accepts(arguments: &[&str], input: &str) {
    let output = promtool(arguments, input);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let rules = path("rules.yml");
    accepts(&["check", "rules", "--lint-fatal", &rules.display().to_string()], "");
    accepts(&["test", "rules", &path("rules_test.yml").display().to_string()], "");
}

/// Pays, and is refused now and then, until it is dropped.
async fn pay(url: String) {
    let http = reqwest::Client::new();
    for number in 0_u64.. {
        let body = json!({
            "payment_id": Uuid::new_v4(),
            "order_id": "order",
            "account": format!("client-{}", number % 7),
            "amount_cents": if number % 20 == 0 { 100_000_000 } else { 1 },
        });
        let _ = http.post(format!("{url}/payments")).json(&body).send().await;
        // Pacing: it sets the load, and nothing is waited for.
        tokio::time::sleep(PAUSE).await;
    }
}

/// What an operator of RabbitMQ does by mistake, and mends.
async fn bind(channel: &Channel, bound: bool) {
    let (exchange, key) = ("payments", "payment.completed");
    if bound {
        channel.queue_bind(QueueBindArguments::new(QUEUE, exchange, key)).await.expect("binds");
    } else {
        channel.queue_unbind(QueueUnbindArguments::new(QUEUE, exchange, key)).await.expect("unbinds");
    }
}

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.expect("runs");
}

/// Fails unless all of `expected` have fired, and at most `tolerated` besides.
async fn only(watch: &mut Watch, expected: &[&str], tolerated: &[&str]) {
    let fired = watch.fired().await;
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (expected, tolerated) = (of(expected), of(tolerated));
    assert!(fired.is_superset(&expected), "fired: {fired:?}, expected: {expected:?}");
    let others: Vec<_> =
        fired.iter().filter(|name| !expected.contains(*name) && !tolerated.contains(*name)).collect();
    assert!(others.is_empty(), "fired for no reason: {others:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_live_prometheus_alerts_fire_and_clear_and_the_dashboard_has_data() {
    let _alone = MACHINE.write().await;
    let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
    let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
    let url = database(postgres.url(), "shop").await;
    let pool = PgPool::connect(&url).await.expect("connects");
    let service = Service::start(&["--database-url", &url, "--amqp-url", rabbitmq.url()]).await;
    let mut watch = Watch::start(&service.url).await;
    let began = Instant::now();
    let load = tokio::spawn(pay(service.url.clone()));
    watch.holds("rate(transactional_message_consumed_total{result=\"ok\"}[5s]) > 0").await;

    handlers_fail_for_a_while(&watch, &pool).await;
    only(&mut watch, &[], &[]).await;
    println!("attempts with backoffs, and no alert, after {:.0?}", began.elapsed());

    messages_need_a_person(&mut watch, &pool, rabbitmq.port()).await;
    println!("what needs a person, and decided, after {:.0?}", began.elapsed());

    watch.fired().await;
    rabbitmq.kill().expect("killed");
    watch.fires("BrokerAway").await;
    watch.fires("DeliveryStalled").await;
    rabbitmq.start_again().await.expect("starts again");
    watch.is_quiet().await;
    // So long an outage is an hour by the rules: a queue that was not empty was last seen so, and nobody consumed.
    // And a machine on which a broker starts is busy.
    let tolerated = ["DeliveryLate", "ConsumerStalled", "SlowHalf"];
    only(&mut watch, &["BrokerAway", "DeliveryStalled"], &tolerated).await;
    println!("the broker stopped and started, after {:.0?}", began.elapsed());

    let mut lock = pool.begin().await.expect("begins");
    sqlx::raw_sql("LOCK TABLE voucher IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("locks");
    watch.fires("ConsumerStalled").await;
    lock.rollback().await.expect("rolls back");
    watch.is_quiet().await;
    only(&mut watch, &["ConsumerStalled"], &[]).await;
    println!("the consumer stopped and started, after {:.0?}", began.elapsed());

    every_expression_has_data(&watch).await;
    load.abort();
    what_was_counted_agrees_with_the_books(&service, &pool).await;
    the_metrics_are_as_prometheus_wants_them(&service).await;
    assert!(service.stop().await.success());
}

/// At the same time, so that it does not take longer.
async fn messages_need_a_person(watch: &mut Watch, pool: &PgPool, port: u16) {
    let arguments = OpenConnectionArguments::new("127.0.0.1", port, services::USER, services::PASSWORD);
    let connection = Connection::open(&arguments).await.expect("connects");
    let channel = connection.open_channel(None).await.expect("opens");
    // Each message is tried again and again, with pauses: that is no stall.
    bind(&channel, false).await;
    mishaps::happen(pool, QUEUE, &channel).await;
    for alert in NEED_A_PERSON {
        watch.fires(alert).await;
    }
    only(watch, &NEED_A_PERSON, &[]).await;
    bind(&channel, true).await;
    mishaps::are_mended(pool, QUEUE, &channel).await;
    watch.is_quiet().await;
    channel.close().await.expect("closes");
    connection.close().await.expect("closes");
}

/// Until messages wait in the retry queues.
async fn handlers_fail_for_a_while(watch: &Watch, pool: &PgPool) {
    run(
        pool,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON voucher FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .await;
    watch.holds("rate(transactional_message_consumer_retries_total[5s]) > 0").await;
    watch.holds("transactional_message_queue_messages{kind=\"retry\"} > 0").await;
    run(pool, "DROP TRIGGER refuse ON voucher").await;
    watch.holds("rate(transactional_message_consumed_total{result=\"ok\"}[5s]) > 0").await;
}

async fn every_expression_has_data(watch: &Watch) {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let mut count = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            let now = expression
                .replace("$job", "shop")
                .replace("$instance", ".+")
                .replace("$__rate_interval", "2m");
            assert!(!watch.query(&now).await.is_empty(), "{}: no data for {now}", panel["title"]);
            count += 1;
        }
    }
    assert!(count > 30, "{count} expressions");
}

/// Every voucher is an effect that was counted once, however often its message came.
async fn what_was_counted_agrees_with_the_books(service: &Service, pool: &PgPool) {
    service.settled().await;
    wait_until("as many effects as payments", async || {
        let metrics = metrics(service).await;
        let of = |series: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_default();
            line.trim().parse::<i64>().unwrap_or_default()
        };
        let sql = "SELECT (SELECT count(*) FROM payment), (SELECT count(*) FROM voucher)";
        let (payments, vouchers): (i64, i64) = sqlx::query_as(sql).fetch_one(pool).await.expect("counts");
        let effects = of("transactional_message_consumed_total{queue=\"accounting.vouchers\",result=\"ok\"}");
        let delivered = of("transactional_message_delivered_total{exchange=\"payments\"}");
        effects == vouchers && vouchers == payments && delivered == payments
    })
    .await;
}

async fn metrics(service: &Service) -> String {
    let answer = reqwest::get(format!("{}/metrics", service.url)).await.expect("answers");
    answer.text().await.expect("text")
}

async fn the_metrics_are_as_prometheus_wants_them(service: &Service) {
    let metrics = metrics(service).await;
    accepts(&["check", "metrics"], &metrics);
    let series = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count();
    println!("{series} series");
    assert!(series < SERIES, "{series} series");
    // All that there are, but for what shows only in trouble that there was none of.
    let missing = telemetry::all().filter(|metric| !metrics.contains(&format!("# HELP {} ", metric.name)));
    let missing: Vec<_> = missing.map(|metric| metric.name).collect();
    assert!(missing.iter().all(|name| *name == "transactional_message_consumer_waiting"), "{missing:?}");
}
