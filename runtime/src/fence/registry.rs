//! The fence databases that a messenger was given, by name and by identity.

use std::sync::{Arc, OnceLock};

use super::FenceDatabase;
use crate::error::{Error, ErrorKind};
use crate::message::{AnsweredBy, FenceId};
use crate::store::StoreError;

/// The business databases whose fences this process can ask.
#[derive(Debug, Default)]
pub(crate) struct Fences(Vec<Fence>, AnyName);

/// Whether every name means the only fence there is, as in tests.
#[derive(Debug, Default)]
struct AnyName(bool);

#[derive(Debug)]
struct Fence {
    name: String,
    database: Arc<dyn FenceDatabase>,
    /// Read when the messenger starts.
    identity: OnceLock<FenceId>,
}

impl Fences {
    pub(crate) fn add(&mut self, name: String, database: Arc<dyn FenceDatabase>) -> Result<(), Error> {
        if self.0.iter().any(|fence| fence.name == name) {
            return Err(configuration(format!(
                "the fence `{name}` was given twice: give each database one name"
            )));
        }
        self.0.push(Fence { name, database, identity: OnceLock::new() });
        Ok(())
    }

    #[cfg(feature = "testing")]
    pub(crate) const fn accept_any_name(&mut self) {
        self.1 = AnyName(true);
    }

    /// Creates the tables of all fences.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        for fence in &self.0 {
            fence.database.migrate().await?;
        }
        Ok(())
    }

    /// Reads the identities. Two names for one database are a mistake: one of them is the wrong pool.
    pub(crate) async fn identify(&self) -> Result<(), Error> {
        for (index, fence) in self.0.iter().enumerate() {
            let identity = fence
                .database
                .identity()
                .await
                .map_err(|cause| cause.into_error(&format!("the fence `{}` is not ready", fence.name)))?;
            if let Some(other) =
                self.0.iter().take(index).find(|other| other.identity.get() == Some(&identity))
            {
                return Err(configuration(format!(
                    "the fences `{}` and `{}` lead to the same database: give it one name",
                    other.name, fence.name
                )));
            }
            let _ = fence.identity.set(identity);
        }
        Ok(())
    }

    /// The identity that bare `fence` means.
    pub(crate) fn only(&self, function: &str) -> Result<FenceId, Error> {
        match self.0.as_slice() {
            [fence] => Self::known(fence),
            [] => Err(configuration(format!(
                "`{function}` is fenced, but the messenger has no fence: add `.fence(\"name\", &pool)` to its builder"
            ))),
            several => Err(configuration(format!(
                "`{function}` says `fence`, and the messenger has several: write `fence = \"name\"` with one of {}",
                Self::list(several)
            ))),
        }
    }

    pub(crate) fn named(&self, name: &str, function: &str) -> Result<FenceId, Error> {
        if let (AnyName(true), [fence]) = (&self.1, self.0.as_slice()) {
            return Self::known(fence);
        }
        let fence = self.0.iter().find(|fence| fence.name == name).ok_or_else(|| {
            configuration(format!(
                "`{function}` says `fence = \"{name}\"`, and the messenger has {}: add `.fence(\"{name}\", &pool)` to its builder",
                if self.0.is_empty() { "no fence".to_owned() } else { format!("only {}", Self::list(&self.0)) }
            ))
        })?;
        Self::known(fence)
    }

    /// The database with this identity, if this process has it.
    pub(crate) fn by_identity(&self, identity: FenceId) -> Option<&Arc<dyn FenceDatabase>> {
        self.0.iter().find(|fence| fence.identity.get() == Some(&identity)).map(|fence| &fence.database)
    }

    /// Its name.
    pub(crate) fn name(&self, identity: FenceId) -> Option<&str> {
        let found = self.0.iter().find(|fence| fence.identity.get() == Some(&identity));
        found.map(|fence| fence.name.as_str())
    }

    /// All of them, with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn FenceDatabase>)> {
        self.0.iter().map(|fence| (fence.name.as_str(), &fence.database))
    }

    pub(crate) fn answerers(&self) -> Vec<AnsweredBy> {
        self.0.iter().filter_map(|fence| fence.identity.get().copied().map(AnsweredBy::Fence)).collect()
    }

    fn known(fence: &Fence) -> Result<FenceId, Error> {
        fence.identity.get().copied().ok_or_else(|| {
            Error::new(
                ErrorKind::NotRunning,
                "the messenger is not running yet: call `Messenger::start` first",
            )
        })
    }

    fn list(fences: &[Fence]) -> String {
        let names: Vec<_> = fences.iter().map(|fence| format!("`{}`", fence.name)).collect();
        names.join(", ")
    }
}

fn configuration(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
