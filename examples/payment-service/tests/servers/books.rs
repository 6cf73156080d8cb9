//! Databases for one test, and the comparison of the books in them.

use std::collections::HashSet;

use sqlx::PgPool;
use uuid::Uuid;

/// A new database on a server; its URL.
pub(crate) async fn database(server: &str, name: &str) -> String {
    let pool = PgPool::connect(server).await.expect("connects");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&pool)
        .await
        .expect("creates");
    pool.close().await;
    let (place, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{place}/{name}")
}

/// Every payment has one voucher, no other voucher is there, and every payment that a client knows
/// of was made.
pub(crate) async fn agree(payments: &str, accounting: &str, told: &HashSet<Uuid>) {
    let paid = ids(payments, "SELECT payment_id FROM payment").await;
    let booked = ids(accounting, "SELECT payment_id FROM voucher").await;
    let (paid_once, booked_once): (HashSet<_>, HashSet<_>) =
        (paid.iter().copied().collect(), booked.iter().copied().collect());
    assert_eq!(paid.len(), paid_once.len());
    assert_eq!(booked.len(), booked_once.len(), "a voucher was booked twice");
    assert_eq!(paid_once.difference(&booked_once).count(), 0, "payments without a voucher");
    assert_eq!(booked_once.difference(&paid_once).count(), 0, "vouchers without a payment");
    assert_eq!(told.difference(&paid_once).count(), 0, "clients were told of payments that are not there");
    assert!(!paid.is_empty(), "nothing was paid");
}

async fn ids(database: &str, sql: &'static str) -> Vec<Uuid> {
    let pool = PgPool::connect(database).await.expect("connects");
    let ids = sqlx::query_scalar(sql).fetch_all(&pool).await.expect("reads");
    pool.close().await;
    ids
}
