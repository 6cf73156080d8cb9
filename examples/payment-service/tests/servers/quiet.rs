//! Nothing fails: a thousand payments, seen by an independent client.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::MACHINE;
use crate::books::{agree, database};
use crate::load::Load;
use crate::service::Service;
use crate::witness::Witness;

const PAYMENTS: usize = 1000;
const CLIENTS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_payments_send_a_thousand_messages_each_once_and_as_documented() {
    let _alone = MACHINE.write().await;
    let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
    let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
    let url = database(postgres.url(), "shop").await;
    let mut witness = Witness::start(rabbitmq.port()).await;
    let service = Service::start(&["--database-url", &url, "--amqp-url", rabbitmq.url()]).await;

    let began = Instant::now();
    let told = Load::start(&service.url, CLIENTS, PAYMENTS).done().await;
    let paid_in = began.elapsed();
    let (mut messages, mut payments) = (HashSet::new(), HashSet::new());
    for _ in 0..PAYMENTS {
        let seen = tokio::time::timeout(Duration::from_mins(1), witness.next()).await.expect("a message");
        assert_eq!((&*seen.exchange, &*seen.routing_key), ("payments", "payment.completed"));
        let text = |property: Option<&String>| property.cloned().unwrap_or_default();
        let id: Uuid = text(seen.properties.message_id()).parse().expect("a UUID");
        assert_eq!(id.get_version_num(), 7);
        assert!(messages.insert(id), "the message {id} came twice");
        assert_eq!(text(seen.properties.content_type()), "application/json");
        assert_eq!(text(seen.properties.message_type()), "payment.completed");
        assert_eq!(text(seen.properties.app_id()), "payment-service");
        assert_eq!(seen.properties.delivery_mode(), Some(2), "persistent");
        assert!(seen.properties.timestamp().is_some());
        let payment = seen.body["payment_id"].as_str().expect("a payment").to_owned();
        assert_eq!(text(seen.properties.correlation_id()), payment, "the business key");
        assert_eq!(seen.body["order_id"], format!("order-{payment}"));
        assert_eq!(
            (&seen.body["amount_cents"], seen.body.as_object().expect("an object").len()),
            (&1.into(), 4)
        );
        assert!(payments.insert(payment.parse().expect("a UUID")));
    }
    let seen_in = began.elapsed();
    assert_eq!(payments, told);

    service.settled().await;
    crate::service::wait_until("every voucher", async || {
        service.get("vouchers").await.is_ok_and(|vouchers| !vouchers.as_array().expect("a list").is_empty())
    })
    .await;
    agree_soon(&url, &told).await;
    assert!(witness.is_done(), "no message more");
    witness.leave().await;
    let (ended, log) = service.stop_with_log().await;
    assert!(ended.success());
    let warns = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    // sqlx warns of seconds until a connection was there, or a statement done: of a busy machine, that is.
    let slow = ["time to acquire exceeded slow threshold", "execution time exceeded alert threshold"];
    let is_slow = |line: &&str| slow.iter().any(|slow| line.contains(slow));
    let warning = log.lines().filter(warns).find(|line| !is_slow(line));
    assert_eq!(warning, None, "a warning in quiet times: {log}");
    println!("{PAYMENTS} payments of {CLIENTS} clients in {paid_in:.1?}, all seen after {seen_in:.1?}");
}

/// A message is delivered when the broker has it; accounting needs a moment more.
pub(crate) async fn agree_soon(url: &str, told: &HashSet<Uuid>) {
    let pool = sqlx::PgPool::connect(url).await.expect("connects");
    crate::service::wait_until("as many vouchers as payments", async || {
        let sql = "SELECT (SELECT count(*) FROM payment) = (SELECT count(*) FROM voucher)";
        sqlx::query_scalar(sql).fetch_one(&pool).await.expect("counts")
    })
    .await;
    pool.close().await;
    agree(url, url, told).await;
}
