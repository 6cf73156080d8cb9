//! Renews leases, and keeps in contact with the store.

use tokio::time::Instant;

use super::HeldStore;
use crate::message::MessageId;
use crate::store::StoreError;

/// Rows renewed in one statement.
const BATCH: usize = 500;

impl HeldStore {
    /// Renews what needs it, or else only asks for an answer.
    pub(crate) async fn keep_in_contact(&self) -> Result<(), StoreError> {
        let _turn = self.leases().turn().await;
        let due = self.leases().to_renew();
        if due.is_empty() { self.renew(&[]).await } else { self.renew_all(&due).await }
    }

    /// Renews what needs it, for somebody who can't wait for the lease renewer. Of many who can't, the first does it for
    /// all.
    pub(crate) async fn renew_due(&self) -> Result<(), StoreError> {
        let _turn = self.leases().turn().await;
        self.renew_all(&self.leases().to_renew()).await
    }

    async fn renew_all(&self, due: &[MessageId]) -> Result<(), StoreError> {
        for batch in due.chunks(BATCH) {
            self.renew(batch).await?;
        }
        Ok(())
    }

    async fn renew(&self, batch: &[MessageId]) -> Result<(), StoreError> {
        let (begun, deadline) = (Instant::now(), self.leases().deadline());
        let answer = self.store().renew(batch, self.hold()).await?;
        self.leases().renewed(batch, &answer.ids, &answer.locked, deadline);
        self.leases().answered_after(self.store().switches());
        self.leases().in_contact(begun, answer.database_clock);
        Ok(())
    }
}
