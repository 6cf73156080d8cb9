//! Decisions about many messages, on PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Postgres;
use uuid::Uuid;

use super::store::PostgresStore;
use super::{Checkout, now};
use crate::database::login::PATIENCE;
use crate::database::network::Bound;
use crate::database::row::{Reader, operations};
use crate::database::{first_id, millis};
use crate::store::{Hold, ItemOutcome, NewOperation, Operation, OperationItem, StoreError, StoreOperations};

#[async_trait]
impl StoreOperations for PostgresStore {
    async fn order(&self, operation: &NewOperation) -> Result<(), StoreError> {
        const ORDER: &str = concat!(
            "INSERT INTO tm_operation (id, about, created_at, begins_at) SELECT $1, $2, clock.now, clock.now + $3 FROM (SELECT ",
            now!(),
            " AS now) clock ON CONFLICT (id) DO NOTHING"
        );
        let NewOperation { id, about, begins_in, items } = operation;
        let messages: Vec<_> = items.iter().map(|(message, _)| *message).collect();
        let records: Vec<_> = items.iter().map(|(_, record)| *record).collect();
        let work = |mut checkout: Checkout| {
            let (messages, records) = (&messages, &records);
            async move {
                let query = checkout.query(ORDER).bind(*id).bind(about).bind(millis(*begins_in));
                query.execute(&mut *checkout).await?;
                let sql = "INSERT INTO tm_operation_item (operation_id, position, message_id, record_id) \
                           SELECT $1, position, message_id, record_id FROM unnest($2::uuid[], $3::uuid[]) \
                           WITH ORDINALITY AS i (message_id, record_id, position) ON CONFLICT DO NOTHING";
                let query = checkout.query(sql).bind(*id).bind(messages).bind(records);
                query.execute(&mut *checkout).await?;
                Ok((checkout, ()))
            }
        };
        self.pool.transaction(PATIENCE, work).await
    }

    async fn operations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Operation>, StoreError> {
        let sql = operations!(now!(), "($1::uuid IS NULL OR o.id < $1) ORDER BY o.id DESC LIMIT $2");
        let rows = self.pool.fetch(sql, |query| query.bind(before).bind(i64::from(limit))).await?;
        Ok(rows.iter().filter_map(|row| Reader(row).operation().transpose()).collect::<Result<_, _>>()?)
    }

    async fn operation(&self, id: Uuid) -> Result<Option<Operation>, StoreError> {
        let rows = self.pool.fetch(operations!(now!(), "o.id = $1"), |query| query.bind(id)).await?;
        Ok(rows.first().map(|row| Reader(row).operation()).transpose()?.flatten())
    }

    async fn due_operations(&self) -> Result<Vec<Uuid>, StoreError> {
        let sql = concat!(
            "SELECT id FROM tm_operation WHERE ended_at IS NULL AND begins_at <= ",
            now!(),
            " AND (held_until IS NULL OR held_until < ",
            now!(),
            ") ORDER BY id LIMIT 100"
        );
        let rows = self.pool.fetch(sql, |query| query).await?;
        Ok(rows.iter().map(|row| Reader(row).uuid()).collect::<Result<_, _>>()?)
    }

    async fn take_operation(&self, id: Uuid, hold: Hold) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_operation SET held_by = $1, held_until = ",
            now!(),
            " + $2 WHERE id = $3 AND ended_at IS NULL AND begins_at <= ",
            now!(),
            " AND (held_by = $1 OR held_until IS NULL OR held_until < ",
            now!(),
            ")"
        );
        let bind = |query: Bound<Postgres>| query.bind(hold.token).bind(millis(hold.lease)).bind(id);
        Ok(self.pool.execute(sql, bind).await?.rows_affected() == 1)
    }

    async fn items(
        &self,
        id: Uuid,
        beyond: u64,
        open: bool,
        limit: u32,
    ) -> Result<Vec<OperationItem>, StoreError> {
        let sql = "SELECT position, message_id, record_id, outcome, why FROM tm_operation_item WHERE operation_id = $1 \
                   AND position > $2 AND (outcome IS NULL OR NOT $3) ORDER BY position LIMIT $4";
        let beyond = i64::try_from(beyond).unwrap_or(i64::MAX);
        let bind = |query: Bound<Postgres>| query.bind(id).bind(beyond).bind(open).bind(i64::from(limit));
        let rows = self.pool.fetch(sql, bind).await?;
        Ok(rows.iter().map(|row| Reader(row).operation_item()).collect::<Result<_, _>>()?)
    }

    async fn is_recorded(&self, record_id: Uuid) -> Result<bool, StoreError> {
        let sql = "SELECT id FROM tm_audit WHERE id = $1";
        Ok(!self.pool.fetch(sql, |query| query.bind(record_id)).await?.is_empty())
    }

    async fn settle_item(
        &self,
        id: Uuid,
        position: u64,
        outcome: ItemOutcome,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE tm_operation_item SET outcome = $1, why = $2 WHERE operation_id = $3 AND position = $4 \
                   AND outcome IS NULL";
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let bind = |query: Bound<Postgres>| query.bind(outcome.name()).bind(why).bind(id).bind(position);
        self.pool.execute(sql, bind).await.map(drop)
    }

    async fn end_operation(&self, id: Uuid, stopped: Option<&str>) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_operation SET ended_at = ",
            now!(),
            ", stopped = $1, held_by = NULL, held_until = NULL WHERE id = $2 AND ended_at IS NULL"
        );
        Ok(self.pool.execute(sql, |query| query.bind(stopped).bind(id)).await?.rows_affected() == 1)
    }

    async fn prune_operations(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let sql = concat!(
            "WITH old AS (SELECT id FROM tm_operation WHERE ended_at < ",
            now!(),
            " - $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED), ",
            "items AS (DELETE FROM tm_operation_item WHERE operation_id IN (SELECT id FROM old)) ",
            "DELETE FROM tm_operation WHERE id IN (SELECT id FROM old)"
        );
        let bind = |query: Bound<Postgres>| query.bind(millis(older_than)).bind(i64::from(limit));
        Ok(self.pool.execute(sql, bind).await?.rows_affected())
    }

    async fn prune_audit(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        // The ids are in the order of their time, roughly: no more is read than is deleted.
        let sql = concat!(
            "DELETE FROM tm_audit WHERE id IN (SELECT id FROM tm_audit WHERE id < $1 AND at < ",
            now!(),
            " - $2 ORDER BY id LIMIT $3)"
        );
        let bind = |query: Bound<Postgres>| {
            query.bind(first_id(older_than)).bind(millis(older_than)).bind(i64::from(limit))
        };
        Ok(self.pool.execute(sql, bind).await?.rows_affected())
    }

    async fn leave_operation(&self, id: Uuid, hold: Hold) -> Result<(), StoreError> {
        let sql = "UPDATE tm_operation SET held_by = NULL, held_until = 0 WHERE id = $1 AND held_by = $2";
        self.pool.execute(sql, |query| query.bind(id).bind(hold.token)).await.map(drop)
    }
}
