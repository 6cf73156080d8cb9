//! Waiting for something that can be seen.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use transactional_message::{Error, ErrorKind, MessageInfo, MessageState, Messenger, Stats};

use crate::ProcessLog;

/// A bound on a hang, and no measure of speed: far more than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until `condition` holds, and panics with `what`, and the last lines of the log, when it never does.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let (started, _listening) = (Instant::now(), ProcessLog::get());
    while !condition().await {
        if started.elapsed() >= LIMIT {
            let log = ProcessLog::get().last_lines();
            panic!("waited {LIMIT:?} in vain for: {what}\nwhat this test logged last:\n{log}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the store said. `None`: a busy machine kept its server from answering in time. Who waits asks again.
pub fn answered<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Unavailable => None,
        answer => Some(answer.expect("the store answers")),
    }
}

/// How many messages there are; as [`answered`].
pub async fn counted(messenger: &Messenger) -> Option<Stats> {
    answered(messenger.stats().await)
}

/// The newest messages in `state`, so many at most; as [`answered`].
pub async fn listed(messenger: &Messenger, state: MessageState, limit: u32) -> Option<Vec<MessageInfo>> {
    answered(messenger.admin().list(state, None, limit).await)
}

/// Runs a call whose body panics: nobody reports how it ended.
pub async fn vanish<T>(call: impl Future<Output = T>) {
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err(), "the body was to panic");
}
