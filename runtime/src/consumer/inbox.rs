//! The inbox: record and effect in one transaction, so that the effect happens once per message.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Pool;

use super::{Consume, Received};
use crate::check_back::Decode;
use crate::database::namespace::Namespace;
use crate::fault;
use crate::fence::{BusinessDatabase, begin_on_pool};
use crate::message::{Message, MessageId, age};
use crate::store::StoreError;
use crate::transport::Handled;
use crate::worker::janitor::Prune;

const RETENTION: Duration = Duration::from_hours(7 * 24);

/// A handler with its database, without their types.
#[async_trait]
pub(crate) trait Inbox: Prune {
    async fn migrate(&self) -> Result<(), StoreError>;
    async fn check_schema(&self) -> Result<(), StoreError>;
    /// Handles one delivery, up to and including the commit.
    async fn process(&self, id: MessageId, message: Message, attempt: u32) -> Handled;
    fn with_retention(&self, retention: Duration) -> Arc<dyn Inbox>;
    fn with_schema(&self, schema: String) -> Arc<dyn Inbox>;
}

pub(super) struct SqlInbox<DB: BusinessDatabase, M, H> {
    queue: String,
    pool: Pool<DB>,
    handler: Arc<H>,
    retention: Duration,
    schema: Option<String>,
    /// Where the inbox is; known when it was migrated or checked.
    namespace: OnceLock<Namespace>,
    message: PhantomData<fn() -> M>,
}

impl<DB: BusinessDatabase, M, H> std::fmt::Debug for SqlInbox<DB, M, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlInbox").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl<DB, M, H> SqlInbox<DB, M, H>
where
    DB: BusinessDatabase,
    M: Decode + Send + 'static,
    H: for<'c> Consume<'c, DB::Connection, M> + 'static,
{
    pub(super) fn new(queue: String, pool: Pool<DB>, handler: H) -> Self {
        Self {
            queue,
            pool,
            handler: Arc::new(handler),
            retention: RETENTION,
            schema: None,
            namespace: OnceLock::new(),
            message: PhantomData,
        }
    }

    fn copy(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            pool: self.pool.clone(),
            handler: Arc::clone(&self.handler),
            retention: self.retention,
            schema: self.schema.clone(),
            namespace: OnceLock::new(),
            message: PhantomData,
        }
    }

    fn namespace(&self) -> Result<&Namespace, StoreError> {
        self.namespace.get().ok_or_else(|| {
            StoreError::Unavailable(format!("the inbox of the consumer `{}` was not checked yet", self.queue))
        })
    }

    /// The whole transaction. Without `Done` it was rolled back, or nobody knows; the message
    /// comes again in both cases, and the record tells.
    async fn once(&self, id: MessageId, message: Received<M>) -> Handled {
        let namespace = match self.namespace() {
            Ok(namespace) => namespace,
            Err(error) => return Handled::NotNow(error.to_string()),
        };
        if fault::bug("inbox-apart") && !self.enter_apart(namespace, id).await {
            return Handled::Done;
        }
        let (mut tx, _turn) = match begin_on_pool(&self.pool).await {
            Ok(begun) => begun,
            Err(error) => return Handled::NotNow(error.to_string()),
        };
        let entered = match DB::enter_inbox(&mut tx, namespace, &self.queue, id).await {
            Ok(false) if fault::bug("inbox-apart") => Ok(true),
            entered => entered,
        };
        let worked = match entered {
            Ok(true) => self.handler.consume(&mut tx, message).await.map_err(|error| error.to_string()),
            Ok(false) => {
                tracing::debug!(%id, queue = self.queue, "a message whose effect has happened came again");
                let _ = tx.rollback().await;
                return Handled::Done;
            }
            Err(error) => {
                let _ = tx.rollback().await;
                return Handled::NotNow(error.to_string());
            }
        };
        fault::point("effect-done");
        let proven = match worked {
            // A failed statement whose error was swallowed must not be acknowledged.
            Ok(()) if fault::bug("inbox-apart") => Ok(()),
            Ok(()) => {
                DB::prove_inbox(&mut tx, namespace, &self.queue, id).await.map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        if let Err(why) = proven {
            let _ = tx.rollback().await;
            return Handled::Failed(why);
        }
        if let Err(error) = fault::pending("inbox-commit-sent", tx.commit()).await {
            return Handled::Failed(error.to_string());
        }
        fault::point("inbox-committed");
        Handled::Done
    }

    /// A planted bug: the record in a transaction of its own. Says whether the message is new.
    async fn enter_apart(&self, namespace: &Namespace, id: MessageId) -> bool {
        let Ok((mut tx, _turn)) = begin_on_pool(&self.pool).await else { return false };
        let entered = DB::enter_inbox(&mut tx, namespace, &self.queue, id).await;
        tx.commit().await.is_ok() && matches!(entered, Ok(true))
    }
}

#[async_trait]
impl<DB, M, H> Prune for SqlInbox<DB, M, H>
where
    DB: BusinessDatabase,
    M: Decode + Send + 'static,
    H: for<'c> Consume<'c, DB::Connection, M> + 'static,
{
    async fn prune(&self, limit: u32) -> Result<u64, StoreError> {
        DB::prune_inbox(&self.pool, self.namespace()?, &self.queue, self.retention, limit).await
    }
}

#[async_trait]
impl<DB, M, H> Inbox for SqlInbox<DB, M, H>
where
    DB: BusinessDatabase,
    M: Decode + Send + 'static,
    H: for<'c> Consume<'c, DB::Connection, M> + 'static,
{
    async fn migrate(&self) -> Result<(), StoreError> {
        let namespace = DB::migrate_inbox(&self.pool, self.schema.as_deref()).await?;
        self.namespace.get_or_init(|| namespace);
        Ok(())
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        let namespace = DB::check_inbox(&self.pool, self.schema.as_deref()).await?;
        self.namespace.get_or_init(|| namespace);
        Ok(())
    }

    async fn process(&self, id: MessageId, message: Message, attempt: u32) -> Handled {
        if age(id) > self.retention {
            return Handled::Rejected(format!(
                "older than the {:?} for which this consumer remembers messages: it could not be recognised as a duplicate",
                self.retention
            ));
        }
        match Received::decode(id, message, attempt) {
            Err(why) => Handled::Undecodable(format!("the body can't be decoded: {why}")),
            Ok(message) => self.once(id, message).await,
        }
    }

    fn with_retention(&self, retention: Duration) -> Arc<dyn Inbox> {
        Arc::new(Self { retention, ..self.copy() })
    }

    fn with_schema(&self, schema: String) -> Arc<dyn Inbox> {
        Arc::new(Self { schema: Some(schema), ..self.copy() })
    }
}
