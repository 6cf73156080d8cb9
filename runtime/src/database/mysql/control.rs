//! What persons order, on MySQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{MySql, Row};

use super::by_hand::{RECORD, bind_record};
use super::store::MySqlStore;
use super::{Checkout, now};
use crate::database::login::PATIENCE;
use crate::database::millis;
use crate::database::network::Bound;
use crate::database::row::Reader;
use crate::message::Pausable;
use crate::store::{Decision, Pause, StoreControl, StoreError};

#[async_trait]
impl StoreControl for MySqlStore {
    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let sql = concat!(
            "SELECT what, reason, actor, via, began_at, ends_at, ends_at - ",
            now!(),
            " AS remaining FROM tm_pause WHERE ends_at > ",
            now!(),
            " ORDER BY what LIMIT 1000"
        );
        let rows = self.pool.fetch(sql, |query| query).await?;
        Ok(rows.iter().filter_map(|row| Reader(row).pause().transpose()).collect::<Result<_, _>>()?)
    }

    async fn pause(&self, what: &Pausable, lasts: Duration, decision: &Decision) -> Result<(), StoreError> {
        const PAUSE: &str = concat!(
            "INSERT INTO tm_pause (what, reason, actor, via, began_at, ends_at) VALUES (?, ?, ?, ?, ",
            now!(),
            ", ",
            now!(),
            " + ?) ON DUPLICATE KEY UPDATE reason = VALUES(reason), actor = VALUES(actor), via = VALUES(via), ",
            "began_at = VALUES(began_at), ends_at = VALUES(ends_at)"
        );
        let work = |mut checkout: Checkout| async move {
            let entry = &decision.entry;
            let query = checkout
                .query(PAUSE)
                .bind(what.to_string())
                .bind(entry.reason.as_deref().unwrap_or_default())
                .bind(&entry.actor.user)
                .bind(&entry.actor.via)
                .bind(millis(lasts));
            query.execute(&mut *checkout).await?;
            bind_record(checkout.query(RECORD), decision).execute(&mut *checkout).await?;
            Ok((checkout, ()))
        };
        self.pool.transaction(PATIENCE, work).await
    }

    async fn resume(&self, what: &Pausable, decision: &Decision) -> Result<bool, StoreError> {
        let work = |mut checkout: Checkout| async move {
            let sql = concat!("SELECT ends_at > ", now!(), " FROM tm_pause WHERE what = ? FOR UPDATE");
            let row = checkout.query(sql).bind(what.to_string()).fetch_optional(&mut *checkout).await?;
            let was_paused = row.map(|row| row.try_get::<bool, _>(0)).transpose()?.unwrap_or_default();
            let query = checkout.query("DELETE FROM tm_pause WHERE what = ?").bind(what.to_string());
            query.execute(&mut *checkout).await?;
            if was_paused {
                bind_record(checkout.query(RECORD), decision).execute(&mut *checkout).await?;
            }
            Ok((checkout, was_paused))
        };
        self.pool.transaction(PATIENCE, work).await
    }

    async fn wake(&self, mark: &str, limit: u32) -> Result<u64, StoreError> {
        let sql = concat!(
            "UPDATE tm_message FORCE INDEX (tm_message_due) SET due_at = ",
            now!(),
            " WHERE state = 1 AND held_by IS NULL AND due_at > ",
            now!(),
            " AND LEFT(reason, CHAR_LENGTH(?)) = ? AND (deliver_at IS NULL OR deliver_at <= ",
            now!(),
            ") LIMIT ?"
        );
        let bind = |query: Bound<MySql>| query.bind(mark).bind(mark).bind(i64::from(limit));
        Ok(self.pool.execute(sql, bind).await?.rows_affected())
    }
}
