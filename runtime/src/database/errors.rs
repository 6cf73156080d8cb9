//! sqlx's errors in the terms of the ports: each database reads its own codes.

use sqlx::error::DatabaseError;

use crate::store::StoreError;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => classify(database.as_ref()),
            sqlx::Error::PoolClosed => Self::Unavailable("the messenger has been shut down".into()),
            sqlx::Error::PoolTimedOut => Self::Unavailable(
                "no connection to the database: it does not answer, or all of the pool's are in use".into(),
            ),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

fn classify(error: &dyn DatabaseError) -> StoreError {
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
        return super::sqlite::errors::classify(error);
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return super::mysql::errors::classify(error);
    }
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return super::postgres::errors::classify(error);
    }
    StoreError::Unexpected(error.message().to_owned())
}
