//! What is looked at when a messenger is built: how its databases are set.

use crate::call::calls::Calls;
use crate::error::{Error, ErrorKind};
use crate::store::StoreError;

/// Refuses databases whose server is set so that something of ours could never work there.
pub(super) async fn check_servers(calls: &Calls) -> Result<(), Error> {
    let limits = calls.settings.limits();
    let unfit = |what: &str, cause: StoreError| match cause {
        StoreError::Refused(why) => Error::new(ErrorKind::Configuration, format!("{what}: {why}")),
        cause => cause.into_error(&format!("{what} could not be read")),
    };
    calls.held.store().check_server(limits).await.map_err(|cause| unfit("the message store", cause))?;
    for (name, fence) in calls.fences.iter() {
        let failed = |cause| unfit(&format!("the database of the fence `{name}`"), cause);
        fence.check_server(limits).await.map_err(failed)?;
    }
    Ok(())
}

/// Names settings of the databases that are weaker than the promise needs.
pub(super) async fn warn_of_weaknesses(calls: &Calls) -> Result<(), Error> {
    let stored = calls.held.store().weaknesses().await.map_err(|cause| match cause {
        StoreError::Refused(why) => Error::new(ErrorKind::Configuration, why),
        cause => cause.into_error("the message store could not be read"),
    })?;
    for weakness in stored {
        tracing::warn!("the message store can lose messages in a crash of its machine: {weakness}");
    }
    for (name, fence) in calls.fences.iter() {
        let failed = |cause: StoreError| cause.into_error("the fence's database could not be read");
        for weakness in fence.weaknesses().await.map_err(failed)? {
            tracing::warn!(
                fence = name,
                "the business database can lose what messages were sent for, in a crash of its machine: {weakness}"
            );
        }
    }
    Ok(())
}
