//! Decisions about many messages, on MySQL.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sqlx::MySql;
use uuid::Uuid;

use super::store::MySqlStore;
use super::{Checkout, now};
use crate::database::login::PATIENCE;
use crate::database::network::Bound;
use crate::database::row::{Reader, operations};
use crate::database::{first_id, millis};
use crate::store::{Hold, ItemOutcome, NewOperation, Operation, OperationItem, StoreError, StoreOperations};

/// Items in one statement: less than a packet may have.
const ITEMS: usize = 5000;

const INSERT_ITEMS: &str = "INSERT INTO tm_operation_item (operation_id, position, message_id, record_id) \
    SELECT ?, j.place + ?, UNHEX(j.message), UNHEX(j.record) FROM JSON_TABLE(?, '$[*]' COLUMNS (place FOR ORDINALITY, \
    message CHAR(32) PATH '$[0]', record CHAR(32) PATH '$[1]')) j \
    ON DUPLICATE KEY UPDATE tm_operation_item.position = tm_operation_item.position";

#[async_trait]
impl StoreOperations for MySqlStore {
    async fn order(&self, operation: &NewOperation) -> Result<(), StoreError> {
        const ORDER: &str = concat!(
            "INSERT INTO tm_operation (id, about, created_at, begins_at) VALUES (?, ?, ",
            now!(),
            ", ",
            now!(),
            " + ?) ON DUPLICATE KEY UPDATE tm_operation.id = tm_operation.id"
        );
        let NewOperation { id, about, begins_in, items } = operation;
        let work = |mut checkout: Checkout| async move {
            let query = checkout.query(ORDER).bind(*id).bind(about).bind(millis(*begins_in));
            query.execute(&mut *checkout).await?;
            for (chunk, items) in items.chunks(ITEMS).enumerate() {
                let list: Vec<_> = items
                    .iter()
                    .map(|(message, record)| [message.as_uuid().simple(), record.simple()])
                    .collect();
                let before = i64::try_from(chunk * ITEMS).unwrap_or(i64::MAX);
                let query = checkout.query(INSERT_ITEMS).bind(*id).bind(before).bind(json!(list).to_string());
                query.execute(&mut *checkout).await?;
            }
            Ok((checkout, ()))
        };
        self.pool.transaction(PATIENCE, work).await
    }

    async fn operations(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Operation>, StoreError> {
        let sql = operations!(now!(), "(? IS NULL OR o.id < ?) ORDER BY o.id DESC LIMIT ?");
        let rows =
            self.pool.fetch(sql, |query| query.bind(before).bind(before).bind(i64::from(limit))).await?;
        Ok(rows.iter().filter_map(|row| Reader(row).operation().transpose()).collect::<Result<_, _>>()?)
    }

    async fn operation(&self, id: Uuid) -> Result<Option<Operation>, StoreError> {
        let rows = self.pool.fetch(operations!(now!(), "o.id = ?"), |query| query.bind(id)).await?;
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
            "UPDATE tm_operation SET held_by = ?, held_until = ",
            now!(),
            " + ? WHERE id = ? AND ended_at IS NULL AND begins_at <= ",
            now!(),
            " AND (held_by = ? OR held_until IS NULL OR held_until < ",
            now!(),
            ")"
        );
        let bind =
            |query: Bound<MySql>| query.bind(hold.token).bind(millis(hold.lease)).bind(id).bind(hold.token);
        Ok(self.pool.execute(sql, bind).await?.rows_affected() == 1)
    }

    async fn items(
        &self,
        id: Uuid,
        beyond: u64,
        open: bool,
        limit: u32,
    ) -> Result<Vec<OperationItem>, StoreError> {
        let sql = "SELECT position, message_id, record_id, outcome, why FROM tm_operation_item WHERE operation_id = ? \
                   AND position > ? AND (outcome IS NULL OR NOT ?) ORDER BY position LIMIT ?";
        let beyond = i64::try_from(beyond).unwrap_or(i64::MAX);
        let bind = |query: Bound<MySql>| query.bind(id).bind(beyond).bind(open).bind(i64::from(limit));
        let rows = self.pool.fetch(sql, bind).await?;
        Ok(rows.iter().map(|row| Reader(row).operation_item()).collect::<Result<_, _>>()?)
    }

    async fn is_recorded(&self, record_id: Uuid) -> Result<bool, StoreError> {
        let sql = "SELECT id FROM tm_audit WHERE id = ?";
        Ok(!self.pool.fetch(sql, |query| query.bind(record_id)).await?.is_empty())
    }

    async fn settle_item(
        &self,
        id: Uuid,
        position: u64,
        outcome: ItemOutcome,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE tm_operation_item SET outcome = ?, why = ? WHERE operation_id = ? AND position = ? \
                   AND outcome IS NULL";
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let bind = |query: Bound<MySql>| query.bind(outcome.name()).bind(why).bind(id).bind(position);
        self.pool.execute(sql, bind).await.map(drop)
    }

    async fn end_operation(&self, id: Uuid, stopped: Option<&str>) -> Result<bool, StoreError> {
        let sql = concat!(
            "UPDATE tm_operation SET ended_at = ",
            now!(),
            ", stopped = ?, held_by = NULL, held_until = NULL WHERE id = ? AND ended_at IS NULL"
        );
        Ok(self.pool.execute(sql, |query| query.bind(stopped).bind(id)).await?.rows_affected() == 1)
    }

    async fn prune_operations(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let old =
            concat!("SELECT id FROM tm_operation WHERE ended_at < ", now!(), " - ? ORDER BY id LIMIT ?");
        let bind = |query: Bound<MySql>| query.bind(millis(older_than)).bind(i64::from(limit));
        let rows = self.pool.fetch(old, bind).await?;
        let ids: Vec<Uuid> = rows.iter().map(|row| Reader(row).uuid()).collect::<Result<_, _>>()?;
        for id in &ids {
            // The items go first: a crash in between leaves an operation without some, which is found again.
            let items = "DELETE FROM tm_operation_item WHERE operation_id = ?";
            self.pool.execute(items, |query| query.bind(*id)).await?;
            self.pool.execute("DELETE FROM tm_operation WHERE id = ?", |query| query.bind(*id)).await?;
        }
        Ok(ids.len() as u64)
    }

    async fn prune_audit(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        // The ids are in the order of their time, roughly: no more is read than is deleted.
        let sql = concat!("DELETE FROM tm_audit WHERE id < ? AND at < ", now!(), " - ? ORDER BY id LIMIT ?");
        let bind = |query: Bound<MySql>| {
            query.bind(first_id(older_than)).bind(millis(older_than)).bind(i64::from(limit))
        };
        Ok(self.pool.execute(sql, bind).await?.rows_affected())
    }

    async fn leave_operation(&self, id: Uuid, hold: Hold) -> Result<(), StoreError> {
        let sql = "UPDATE tm_operation SET held_by = NULL, held_until = 0 WHERE id = ? AND held_by = ?";
        self.pool.execute(sql, |query| query.bind(id).bind(hold.token)).await.map(drop)
    }
}
