//! Several messages in one transaction. Whatever is wrong with one of them, or with all, it is rolled back, and they are
//! handled one by one: only then it matters what.

use std::time::Instant;

use tokio::time::timeout;

use super::Received;
use super::batch::Handle;
use super::inbox::{Arrival, Given, Item, PATIENCE, SqlInbox, key};
use crate::check_back::Decode;
use crate::fault;
use crate::message::age;
use crate::sql::{BusinessDatabase, InboxEntry, RawTransaction, WriteTurn, begin_on_pool};
use crate::store::StoreError;
use crate::transport::Disposition;

impl<DB, M, H> SqlInbox<DB, M, H>
where
    DB: BusinessDatabase,
    M: Decode + Send + 'static,
    H: for<'c> Handle<'c, DB::Connection, M> + 'static,
{
    /// Handles messages together. Says why they are not handled.
    pub(super) async fn together(&self, items: &[Item], given: &Given) -> Result<(), String> {
        let mut arrivals = Vec::with_capacity(items.len());
        let mut messages = Vec::with_capacity(items.len());
        for Item { id, message, attempt } in items {
            let arrival = Arrival { id: *id, due: message.schedule.due() };
            if age(*id, arrival.due) > given.limits.retention {
                return Err(format!("{id} is too old"));
            }
            arrivals.push(arrival);
            messages.push(Received::decode(*id, message.clone(), *attempt, &given.data)?);
        }
        // What was pruned is looked at for the oldest of them.
        arrivals.sort_by_key(Arrival::begins);
        let (mut tx, session, _turn) = self.enter_all(&arrivals).await?;
        tx.may_be_cut_off();
        let patience = given.limits.handler_timeout;
        let began = Instant::now();
        let worked = timeout(patience, self.handler.handle(&mut tx, messages)).await;
        self.note_handler(began, matches!(worked, Ok(Ok(()))));
        let Ok(worked) = worked.map(|worked| worked.map_err(|why| why.into().to_string())) else {
            self.cut_off(tx, session).await;
            return Err(format!("the handler did not end within {patience:?}"));
        };
        tx.ended();
        fault::point("effect-done");
        if let Err(why) = worked {
            self.roll_back(tx, session).await;
            return Err(why);
        }
        match self.commit(tx, arrivals[0]).await {
            Disposition::Done => {
                self.count(&arrivals);
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    }

    /// Begins, with the records of all.
    async fn enter_all(
        &self,
        arrivals: &[Arrival],
    ) -> Result<(RawTransaction<'static, DB>, i64, WriteTurn), String> {
        let enter = async {
            let queue = self.place()?;
            let keys: Vec<_> = arrivals.iter().map(|arrival| key(queue, *arrival)).collect();
            let (mut tx, turn) = begin_on_pool(&self.pool).await?;
            tx.may_be_cut_off();
            let entry = match DB::enter_inbox(&mut tx, keys[0]).await {
                Ok(InboxEntry::New { session }) => {
                    DB::enter_more(&mut tx, queue, &keys[1..]).await.map(|all| all.then_some(session))
                }
                entry => entry.map(|_| None),
            };
            tx.ended();
            Ok::<_, StoreError>((tx, turn, entry))
        };
        let entered =
            timeout(PATIENCE, enter).await.map_err(|_| "the database does not answer".to_owned())?;
        let (tx, turn, entry) = entered.map_err(|error| error.to_string())?;
        match entry {
            Ok(Some(session)) => Ok((tx, session, turn)),
            entry => {
                self.roll_back(tx, 0).await;
                Err(entry.err().map_or_else(|| "one came again".to_owned(), |error| error.to_string()))
            }
        }
    }
}
