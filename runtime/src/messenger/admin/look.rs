//! Looking: at messages, at what their fences say, at who decided, and at who runs. Nothing of it takes a lock.

use super::Admin;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::message::state::MessageState;
use crate::message::{Evidence, MessageId};
use crate::rules::explain::{Explanation, Surroundings};
use crate::store::{
    Action, AuditFilter, AuditRecord, Contents, Decision, Filter, Gauges, HistoryEntry, LONG_DUE,
    MessageInfo, Page, Pause, ProcessInfo, StoreError,
};

/// What is around every message of a store.
#[derive(Clone, Debug)]
struct Around {
    processes: Vec<ProcessInfo>,
    pauses: Vec<Pause>,
}

impl Admin<'_> {
    /// The newest messages in `state`, at most `limit`; `before` continues below an id. Of a state that is finished and rare, it may
    /// read all that is kept; of `Half`, `Confirmed` and `Expired`, each page reads all that are below `before`, which is much where
    /// very many are: [`search`](Self::search) reads no more than 5000 rows.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn list(
        self,
        state: MessageState,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageInfo>, Error> {
        let messages = self.store().list(state, before, limit).await;
        messages.map_err(|cause| cause.into_error("the messages could not be listed"))
    }

    /// The newest messages that meet all conditions of `filter`, at most `limit`; `before` continues below an id, such as
    /// [`Page::next`].
    ///
    /// A search reads no more than 5000 rows, so that it costs the same however many messages are kept: where more than
    /// that might meet the conditions, a page may be short, and its `next` goes on. Messages that are half, confirmed,
    /// parked or dead, and those of a call, are all looked at, unless there are more than 5000 in that state.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn search(self, filter: &Filter, before: Option<MessageId>, limit: u32) -> Result<Page, Error> {
        let page = self.store().search(filter, before, limit).await;
        page.map_err(|cause| cause.into_error("the messages could not be searched"))
    }

    /// One message, if the store knows it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn find(self, id: MessageId) -> Result<Option<MessageInfo>, Error> {
        let row = self.store().find(id).await;
        row.map_err(|cause| cause.into_error("the message could not be read"))
    }

    /// The messages whose ids begin with `digits`, at most `limit`: what a person types. With or without hyphens.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is no beginning of an id; [`ErrorKind::Unavailable`].
    pub async fn find_beginning(self, digits: &str, limit: u32) -> Result<Vec<MessageInfo>, Error> {
        let prefix = digits.parse().map_err(super::refused)?;
        let messages = self.store().beginning(prefix, limit).await;
        messages.map_err(|cause| cause.into_error("the messages could not be searched"))
    }

    /// The headers and the payload of a message, which may be private: that somebody looked at them, and why, is kept in the
    /// audit.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], also when the record can't be kept: then nothing is shown.
    pub async fn contents(self, id: MessageId, reason: &str) -> Result<Option<Contents>, Error> {
        let failed = |cause: StoreError| cause.into_error("the message could not be read");
        let Some(contents) = self.store().contents(id).await.map_err(failed)? else { return Ok(None) };
        let entry = self.entry(reason, &Evidence::NoFence);
        let view = Decision { id, action: Action::View, payload: None, entry };
        self.store().record_legibly(view).await.map_err(failed)?;
        Ok(Some(contents))
    }

    /// What went wrong with a message, and what persons did about it: the oldest first. Nothing, if nothing went wrong.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn history(self, id: MessageId) -> Result<Vec<HistoryEntry>, Error> {
        let history = self.store().history(id).await;
        history.map_err(|cause| cause.into_error("the message could not be read"))
    }

    /// What the fence of a message says. Reads it without a lock, and writes nothing, so it is no answer to a check-back:
    /// a transaction may be open.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such message, or this messenger lacks its fence;
    /// [`ErrorKind::Unavailable`] when the message can't be read. That the fence can't is an answer: [`Evidence::Unknown`].
    pub async fn evidence(self, id: MessageId) -> Result<Evidence, Error> {
        let message = self.known(id).await?;
        self.evidence_of(&message).await
    }

    pub(super) async fn evidence_of(self, message: &MessageInfo) -> Result<Evidence, Error> {
        match self.fence_of(message)? {
            None => Ok(Evidence::NoFence),
            Some((fence, identity)) => Ok(fence.read(identity, message.call_id).await.into()),
        }
    }

    /// Why a message stands where it stands, what happens next and when, and what can be done: from its row, its fence, and
    /// the processes that run. By the settings of a process of its service, if one runs.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is no such message; [`ErrorKind::Unavailable`].
    pub async fn explain(self, id: MessageId) -> Result<Explanation, Error> {
        let message = self.known(id).await?;
        let around = Around { processes: self.processes().await?, pauses: self.pauses().await? };
        let evidence = self.evidence_of(&message).await;
        let evidence = Some(evidence.unwrap_or_else(|elsewhere| Evidence::Unknown(elsewhere.to_string())));
        Ok(Explanation::of(&message, &self.surroundings(&message, &around, evidence)))
    }

    /// The same for many messages at once, without their fences.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn explain_all(self, messages: &[MessageInfo]) -> Result<Vec<Explanation>, Error> {
        let around = Around { processes: self.processes().await?, pauses: self.pauses().await? };
        let one = |message| Explanation::of(message, &self.surroundings(message, &around, None));
        Ok(messages.iter().map(one).collect())
    }

    fn surroundings(
        self,
        message: &MessageInfo,
        around: &Around,
        evidence: Option<Evidence>,
    ) -> Surroundings {
        let of_its_service =
            |process: &&ProcessInfo| process.is_alive() && process.services.contains(&message.service);
        let Around { processes, pauses } = around.clone();
        let process = processes.iter().find(of_its_service);
        let settings = process.map(|process| self.calls().settings.heard(&process.settings));
        Surroundings { settings, processes: Some(processes), evidence, pauses }
    }

    /// The newest records of what persons did, at most `limit`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn audit(self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditRecord>, Error> {
        let records = self.store().audit(filter, limit).await;
        records.map_err(|cause| cause.into_error("the audit could not be read"))
    }

    /// What waits in the store: how many messages in each state that is not finished, how old the oldest is, and for how long the
    /// first has been due. Reads unfinished rows alone, and no more than 100 000 in each state, so it may be called every few
    /// seconds.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn gauges(self) -> Result<Gauges, Error> {
        let gauges = self.store().gauges(LONG_DUE).await;
        gauges.map_err(|cause| cause.into_error("the messages could not be counted"))
    }

    /// The processes that announced themselves within a day, those heard of last first. They do so every 15 s, from their
    /// start until they are shut down: see [`ProcessInfo::is_alive`].
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]
    pub async fn processes(self) -> Result<Vec<ProcessInfo>, Error> {
        let processes = self.store().processes().await;
        processes.map_err(|cause| cause.into_error("the processes could not be read"))
    }
}
