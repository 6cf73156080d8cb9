//! A messenger that runs nothing: the way to the store and to the fences.

use std::path::Path;

use transactional_message::{Actor, DatabaseSource, Messenger};

use crate::arguments::Globals;
use crate::consent::Consent;
use crate::context::Target;
use crate::exit::{Exit, Failure};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) messenger: Messenger,
    pub(crate) actor: Actor,
    pub(crate) consent: Consent,
    pub(crate) dry_run: bool,
}

impl Session {
    /// Opens the databases, and makes sure that their tables are those that this version knows.
    pub(crate) async fn open(globals: &Globals) -> Result<Self, Failure> {
        let target = Target::of(globals)?;
        there(&target.database_url)?;
        let mut session = Self::open_unchecked(globals).await?;
        session.messenger.check_tables().await?;
        if target.fences.is_empty() {
            // The usual case: the business database is where the messages are.
            let own = [("store".to_owned(), target.database_url.clone())];
            let with_fence = open(&target, &own).await?;
            if with_fence.check_tables().await.is_ok() {
                session.messenger = with_fence;
            }
        }
        Ok(session)
    }

    /// The same without a look at the tables.
    pub(crate) async fn open_unchecked(globals: &Globals) -> Result<Self, Failure> {
        let target = Target::of(globals)?;
        let user = globals.acting.clone().unwrap_or_else(|| {
            let name = whoami::username().unwrap_or_else(|_| "somebody".into());
            format!("{name}@{}", whoami::hostname().unwrap_or_else(|_| "unknown".into()))
        });
        Ok(Self {
            messenger: open(&target, &target.fences).await?,
            actor: Actor::new(user, "cli"),
            consent: Consent::new(globals, target.production),
            dry_run: globals.dry_run,
        })
    }
}

async fn open(target: &Target, fences: &[(String, String)]) -> Result<Messenger, Failure> {
    let source = |url: &str| {
        let source = DatabaseSource::from(url);
        match &target.table_prefix {
            Some(prefix) => source.table_prefix(prefix.clone()),
            None => source,
        }
    };
    let store = source(&target.database_url);
    let store = match &target.schema {
        Some(schema) => store.schema(schema.clone()),
        None => store,
    };
    let builder = Messenger::builder(store);
    let builder = fences.iter().fold(builder, |builder, (name, url)| builder.fence(name, source(url)));
    Ok(builder.build().await?)
}

/// Errs for an SQLite file that is not there: opening it would make an empty one.
fn there(url: &str) -> Result<(), Failure> {
    let Some(file) = url.strip_prefix("sqlite:") else { return Ok(()) };
    let file = file.strip_prefix("//").unwrap_or(file);
    let file = file.split('?').next().unwrap_or(file);
    if Path::new(file).exists() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("there is no file `{file}`: `tm migrate` would make it")))
}
