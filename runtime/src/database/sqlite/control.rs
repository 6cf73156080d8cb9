//! What persons order, on SQLite.

use std::time::Duration;

use async_trait::async_trait;

use super::by_hand::entry;
use super::store::SqliteStore;
use super::{PATIENCE, begin, now, patiently};
use crate::database::millis;
use crate::database::row::Reader;
use crate::message::Pausable;
use crate::store::{Decision, Pause, StoreControl, StoreError};

#[async_trait]
impl StoreControl for SqliteStore {
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let sql = concat!(
            "SELECT what, reason, actor, via, began_at, ends_at, ends_at - ",
            now!(),
            " AS remaining FROM tm_pause WHERE ends_at > ",
            now!(),
            " ORDER BY what LIMIT 1000"
        );
        let rows = sqlx::query(sql).fetch_all(&self.reader).await?;
        Ok(rows.iter().filter_map(|row| Reader(row).pause().transpose()).collect::<Result<_, _>>()?)
    }

    async fn pause(&self, what: &Pausable, lasts: Duration, decision: &Decision) -> Result<(), StoreError> {
        let sql = concat!(
            "INSERT INTO tm_pause (what, reason, actor, via, began_at, ends_at) VALUES (?1, ?2, ?3, ?4, ",
            now!(),
            ", ",
            now!(),
            " + ?5) ON CONFLICT (what) DO UPDATE SET reason = excluded.reason, actor = excluded.actor, ",
            "via = excluded.via, began_at = excluded.began_at, ends_at = excluded.ends_at"
        );
        let _turn = self.queue.take(PATIENCE).await?;
        let mut tx = begin(&self.writer).await?;
        let by = &decision.entry;
        let query = sqlx::query(sql)
            .bind(what.to_string())
            .bind(by.reason.as_deref().unwrap_or_default())
            .bind(&by.actor.user)
            .bind(&by.actor.via)
            .bind(millis(lasts));
        query.execute(&mut *tx).await?;
        entry(decision).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn resume(&self, what: &Pausable, decision: &Decision) -> Result<bool, StoreError> {
        let sql = concat!("DELETE FROM tm_pause WHERE what = ?1 RETURNING ends_at > ", now!());
        let _turn = self.queue.take(PATIENCE).await?;
        let mut tx = begin(&self.writer).await?;
        let query = sqlx::query_scalar(sql).bind(what.to_string());
        let was_paused = query.fetch_optional(&mut *tx).await?.unwrap_or_default();
        if was_paused {
            entry(decision).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(was_paused)
    }

    async fn wake(&self, mark: &str, limit: u32) -> Result<u64, StoreError> {
        let sql = concat!(
            "UPDATE tm_message SET due_at = ",
            now!(),
            " WHERE id IN (SELECT id FROM tm_message WHERE state = 1 AND held_by IS NULL AND due_at > ",
            now!(),
            " AND substr(reason, 1, length(?1)) = ?1 AND (deliver_at IS NULL OR deliver_at <= ",
            now!(),
            ") LIMIT ?2)"
        );
        let _turn = self.queue.take(PATIENCE).await?;
        let update = || sqlx::query(sql).bind(mark).bind(limit).execute(&self.writer);
        Ok(patiently(update).await?.rows_affected())
    }
}
