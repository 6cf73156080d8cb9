//! A database that does not answer, or answers with errors.

use std::fmt;

use sqlx::Connection as _;

use crate::databases::{Connection, Dialect, Place};

/// Keeps everybody from writing to one of a test's databases.
pub struct Outage<P: Place> {
    connection: Connection<P::Db>,
    end: &'static str,
}

impl<P: Place> Outage<P> {
    /// Holds a lock: who wants to write waits, until they give up; who wants to read, reads. Begins
    /// when this returns.
    pub async fn of(place: &P, name: &str) -> Self {
        let table = match name {
            "shop" => "tm_fence",
            "books" => "tm_inbox",
            _ => "tm_message",
        };
        let (begin, end) = P::Db::hold(table);
        Self::begin(place, name, begin, end).await
    }

    /// Takes the message table away: every statement fails at once. Begins when this returns.
    pub async fn without_table(place: &P) -> Self {
        let (away, back) = ("ALTER TABLE tm_message RENAME TO away", "ALTER TABLE away RENAME TO tm_message");
        Self::begin(place, "store", away.into(), back).await
    }

    async fn begin(place: &P, name: &str, begin: String, end: &'static str) -> Self {
        let pool = place.pool(name, 1);
        let mut connection = pool.acquire().await.expect("opens").detach();
        P::Db::run(&mut connection, begin).await.expect("begins");
        Self { connection, end }
    }

    /// Ends when this returns.
    pub async fn end(mut self) {
        P::Db::run(&mut self.connection, self.end).await.expect("ends");
        self.connection.close().await.expect("closes");
    }
}

// Connections have it, but not for every `P` at once.
impl<P: Place> fmt::Debug for Outage<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage").field("end", &self.end).finish_non_exhaustive()
    }
}
