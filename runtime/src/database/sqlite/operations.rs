//! Decisions about many messages, on SQLite.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::store::SqliteStore;
use super::{PATIENCE, begin, now, patiently};
use crate::database::row::{Reader, operations};
use crate::database::{first_id, millis};
use crate::store::{Hold, ItemOutcome, NewOperation, Operation, OperationItem, StoreError, StoreOperations};

#[async_trait]
impl StoreOperations for SqliteStore {
    async fn order(&self, operation: &NewOperation) -> Result<(), StoreError> {
        let order = concat!(
            "INSERT INTO tm_operation (id, about, created_at, begins_at) VALUES (?1, ?2, ",
            now!(),
            ", ",
            now!(),
            " + ?3)"
        );
        let items = "INSERT INTO tm_operation_item (operation_id, position, message_id, record_id) \
                     SELECT ?1, key + 1, unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?2)";
        let list: Vec<_> = operation
            .items
            .iter()
            .map(|(message, record)| [message.as_uuid().simple(), record.simple()])
            .collect();
        let _turn = self.queue.take(PATIENCE).await?;
        let mut tx = begin(&self.writer).await?;
        let query = sqlx::query(order).bind(operation.id).bind(&operation.about);
        query.bind(millis(operation.begins_in)).execute(&mut *tx).await?;
        sqlx::query(items).bind(operation.id).bind(json!(list).to_string()).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn operations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Operation>, StoreError> {
        let sql = operations!(now!(), "(?1 IS NULL OR o.id < ?1) ORDER BY o.id DESC LIMIT ?2");
        let rows = sqlx::query(sql).bind(before).bind(limit).fetch_all(&self.reader).await?;
        Ok(rows.iter().filter_map(|row| Reader(row).operation().transpose()).collect::<Result<_, _>>()?)
    }

    async fn operation(&self, id: Uuid) -> Result<Option<Operation>, StoreError> {
        let row = sqlx::query(operations!(now!(), "o.id = ?1")).bind(id).fetch_optional(&self.reader).await?;
        Ok(row.map(|row| Reader(&row).operation()).transpose()?.flatten())
    }

    async fn due_operations(&self) -> Result<Vec<Uuid>, StoreError> {
        let sql = concat!(
            "SELECT id FROM tm_operation WHERE ended_at IS NULL AND begins_at <= ",
            now!(),
            " AND (held_until IS NULL OR held_until < ",
            now!(),
            ") ORDER BY id LIMIT 100"
        );
        Ok(sqlx::query_scalar(sql).fetch_all(&self.reader).await?)
    }

    async fn take_operation(&self, id: Uuid, hold: Hold) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_operation SET held_by = ?1, held_until = ",
            now!(),
            " + ?2 WHERE id = ?3 AND ended_at IS NULL AND begins_at <= ",
            now!(),
            " AND (held_by = ?1 OR held_until IS NULL OR held_until < ",
            now!(),
            ")"
        );
        let _turn = self.queue.take(PATIENCE).await?;
        let update =
            || sqlx::query(sql).bind(hold.token).bind(millis(hold.lease)).bind(id).execute(&self.writer);
        Ok(patiently(update).await?.rows_affected() == 1)
    }

    async fn items(
        &self,
        id: Uuid,
        beyond: u64,
        open: bool,
        limit: u32,
    ) -> Result<Vec<OperationItem>, StoreError> {
        let sql = "SELECT position, message_id, record_id, outcome, why FROM tm_operation_item WHERE operation_id = ?1 \
                   AND position > ?2 AND (outcome IS NULL OR NOT ?3) ORDER BY position LIMIT ?4";
        let beyond = i64::try_from(beyond).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(id).bind(beyond).bind(open).bind(limit);
        let rows = query.fetch_all(&self.reader).await?;
        Ok(rows.iter().map(|row| Reader(row).operation_item()).collect::<Result<_, _>>()?)
    }

    async fn is_recorded(&self, record_id: Uuid) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT id FROM tm_audit WHERE id = ?1").bind(record_id);
        Ok(query.fetch_optional(&self.reader).await?.is_some())
    }

    async fn settle_item(
        &self,
        id: Uuid,
        position: u64,
        outcome: ItemOutcome,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE tm_operation_item SET outcome = ?1, why = ?2 WHERE operation_id = ?3 AND position = ?4 \
                   AND outcome IS NULL";
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let _turn = self.queue.take(PATIENCE).await?;
        let update =
            || sqlx::query(sql).bind(outcome.name()).bind(why).bind(id).bind(position).execute(&self.writer);
        patiently(update).await.map(drop)
    }

    async fn end_operation(&self, id: Uuid, stopped: Option<&str>) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_operation SET ended_at = ",
            now!(),
            ", stopped = ?1, held_by = NULL, held_until = NULL WHERE id = ?2 AND ended_at IS NULL"
        );
        let _turn = self.queue.take(PATIENCE).await?;
        let update = || sqlx::query(sql).bind(stopped).bind(id).execute(&self.writer);
        Ok(patiently(update).await?.rows_affected() == 1)
    }

    async fn prune_operations(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let items = concat!(
            "DELETE FROM tm_operation_item WHERE operation_id IN (SELECT id FROM tm_operation WHERE ended_at < ",
            now!(),
            " - ?1 ORDER BY id LIMIT ?2)"
        );
        let operations = concat!(
            "DELETE FROM tm_operation WHERE id IN (SELECT id FROM tm_operation WHERE ended_at < ",
            now!(),
            " - ?1 ORDER BY id LIMIT ?2) AND NOT EXISTS (SELECT 1 FROM tm_operation_item i WHERE i.operation_id = tm_operation.id)"
        );
        let _turn = self.queue.take(PATIENCE).await?;
        let mut tx = begin(&self.writer).await?;
        sqlx::query(items).bind(millis(older_than)).bind(limit).execute(&mut *tx).await?;
        let done = sqlx::query(operations).bind(millis(older_than)).bind(limit).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    async fn prune_audit(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        // The ids are in the order of their time, roughly: no more is read than is deleted.
        let sql = concat!(
            "DELETE FROM tm_audit WHERE id IN (SELECT id FROM tm_audit WHERE id < ?1 AND at < ",
            now!(),
            " - ?2 ORDER BY id LIMIT ?3)"
        );
        let _turn = self.queue.take(PATIENCE).await?;
        let (first, age) = (first_id(older_than), millis(older_than));
        let delete = || sqlx::query(sql).bind(first).bind(age).bind(limit).execute(&self.writer);
        Ok(patiently(delete).await?.rows_affected())
    }

    async fn leave_operation(&self, id: Uuid, hold: Hold) -> Result<(), StoreError> {
        let sql = "UPDATE tm_operation SET held_by = NULL, held_until = 0 WHERE id = ?1 AND held_by = ?2";
        let _turn = self.queue.take(PATIENCE).await?;
        patiently(|| sqlx::query(sql).bind(id).bind(hold.token).execute(&self.writer)).await.map(drop)
    }
}
