//! The consumer's handler: its writes and the inbox commit together, so it books once per message.

use transactional_message::Received;

use super::vouchers::{Voucher, Vouchers};

pub(super) async fn book<DB: Vouchers>(
    tx: &mut DB::Connection,
    message: Received<Voucher>,
) -> Result<(), sqlx::Error> {
    DB::insert(tx, &message.payload).await
}

#[cfg(test)]
mod tests {
    use sqlx::{Sqlite, SqlitePool};
    use transactional_message::testing::{Recorder, received};
    use uuid::Uuid;

    use super::*;

    async fn database() -> SqlitePool {
        let recorder = Recorder::new().await.expect("a recorder");
        Vouchers::create_tables(recorder.pool()).await.expect("tables");
        recorder.pool().clone()
    }

    #[tokio::test]
    async fn a_voucher_is_what_the_message_says() {
        let db = database().await;
        let voucher = Voucher {
            payment_id: Uuid::from_u128(7),
            order_id: "order-7".into(),
            account: "alice".into(),
            amount_cents: 250,
        };
        let mut connection = db.acquire().await.expect("a connection");
        book::<Sqlite>(&mut connection, received(voucher.clone())).await.expect("booked");
        assert_eq!(Vouchers::find(&db, voucher.payment_id).await.expect("found"), Some(voucher.clone()));
        // A second voucher for one payment would be a bug of ours: the table refuses it.
        book::<Sqlite>(&mut connection, received(voucher)).await.expect_err("refused");
    }
}
