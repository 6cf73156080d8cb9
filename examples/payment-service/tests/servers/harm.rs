//! Servers and the service are killed under load; afterwards the books agree.

use std::time::Instant;

use crate::MACHINE;
use crate::books::{agree, database};
use crate::load::Load;
use crate::quiet::agree_soon;
use crate::service::{Service, wait_until};

const CLIENTS: usize = 16;
/// Enough that the load goes on when what was killed is back.
const PAYMENTS: usize = 1500;
/// When something is killed: the load is well under way.
const EARLY: usize = 300;

async fn under_way(load: &Load) {
    wait_until("the load to be under way", async || load.made() >= EARLY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed_and_payments_go_on() {
    let _shared = MACHINE.read().await;
    let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
    let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
    let url = database(postgres.url(), "shop").await;
    let service = Service::start(&["--database-url", &url, "--amqp-url", rabbitmq.url()]).await;
    let load = Load::start(&service.url, CLIENTS, PAYMENTS);
    under_way(&load).await;
    rabbitmq.kill().expect("killed");
    let made = load.made();
    wait_until("payments without a broker", async || load.made() > made + 100).await;
    rabbitmq.start_again().await.expect("starts again");
    let told = load.done().await;
    let back = Instant::now();
    service.settled().await;
    agree_soon(&url, &told).await;
    println!(
        "the broker killed: {} payments, all delivered {:.1?} after the last",
        told.len(),
        back.elapsed()
    );
    assert!(service.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_killed_and_nothing_is_lost() {
    let _shared = MACHINE.read().await;
    let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
    let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
    let url = database(postgres.url(), "shop").await;
    let service = Service::start(&["--database-url", &url, "--amqp-url", rabbitmq.url()]).await;
    let load = Load::start(&service.url, CLIENTS, PAYMENTS);
    under_way(&load).await;
    postgres.kill().expect("killed");
    postgres.start_again().await.expect("starts again");
    let told = load.done().await;
    let back = Instant::now();
    service.settled().await;
    agree_soon(&url, &told).await;
    println!(
        "the database killed: {} payments, all settled {:.1?} after the last",
        told.len(),
        back.elapsed()
    );
    assert!(service.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_is_killed_and_the_next_one_finishes_its_work() {
    let _shared = MACHINE.read().await;
    let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
    let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
    let url = database(postgres.url(), "shop").await;
    let arguments = ["--database-url", &url, "--amqp-url", rabbitmq.url()];
    let mut service = Service::start(&arguments).await;
    let load = Load::start(&service.url, CLIENTS, PAYMENTS);
    for kill in 1..=3 {
        wait_until("the load to be under way", async || load.made() >= kill * EARLY).await;
        service.kill().await;
        service = Service::start(&arguments).await;
        load.goes_to(&service.url);
    }
    let told = load.done().await;
    service.settled().await;
    agree_soon(&url, &told).await;
    assert!(service.stop().await.success());
}

/// Both sides in processes and databases of their own; two of the payments' side over one store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_is_killed_and_the_other_delivers_its_messages() {
    let _shared = MACHINE.read().await;
    let (postgres, rabbitmq) = tokio::join!(services::postgres::start(), services::rabbitmq::start());
    let (postgres, rabbitmq) = (postgres.expect("PostgreSQL"), rabbitmq.expect("RabbitMQ"));
    let shop = database(postgres.url(), "shop").await;
    let books = database(postgres.url(), "books").await;
    let amqp = rabbitmq.url();
    let accounting =
        Service::start(&["--side", "accounting", "--accounting-database-url", &books, "--amqp-url", amqp])
            .await;
    let payments = ["--side", "payments", "--database-url", &shop, "--amqp-url", amqp];
    let (one, other) = (Service::start(&payments).await, Service::start(&payments).await);
    let load = Load::start(&one.url, CLIENTS, PAYMENTS);
    under_way(&load).await;
    one.kill().await;
    let killed = Instant::now();
    load.goes_to(&other.url);
    // What the dead one left is older than anything that the other begins.
    let pool = sqlx::PgPool::connect(&shop).await.expect("connects");
    let left_at: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM now()) * 1000)::bigint")
        .fetch_one(&pool)
        .await
        .expect("reads");
    let left = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM tm_message WHERE state IN (0, 1) AND created_at < $1 - 50")
            .bind(left_at)
            .fetch_one(&pool)
            .await
            .expect("counts")
    };
    let orphans = left().await;
    wait_until("the messages of the dead process to be settled", async || left().await == 0).await;
    let settled_in = killed.elapsed();
    let told = load.done().await;
    other.settled().await;
    let vouchers = sqlx::PgPool::connect(&books).await.expect("connects");
    wait_until("as many vouchers as payments", async || {
        let count = async |pool, sql: &'static str| -> i64 {
            sqlx::query_scalar(sql).fetch_one(pool).await.expect("counts")
        };
        count(&pool, "SELECT count(*) FROM payment").await
            == count(&vouchers, "SELECT count(*) FROM voucher").await
    })
    .await;
    agree(&shop, &books, &told).await;
    println!(
        "one of two processes killed: its {orphans} unfinished messages were settled {settled_in:.1?} later"
    );
    assert!(other.stop().await.success() && accounting.stop().await.success());
}
