//! A messenger that runs nothing: the way to the store and to the fences.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use transactional_message::{Actor, DatabaseSource, Messenger, RabbitMq, Settings};

use crate::arguments::Globals;
use crate::consent::Consent;
use crate::context::Target;
use crate::exit::{Exit, Failure};

/// What a command works with.
pub(crate) struct Session {
    pub(crate) messenger: Messenger,
    /// Where it leads, for people.
    pub(crate) target: String,
    amqp_url: Option<String>,
    /// How long an answer may take.
    patience: Duration,
    pub(crate) actor: Actor,
    pub(crate) consent: Consent,
    pub(crate) dry_run: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the databases, and makes sure that their tables are those that this version knows.
    pub(crate) async fn open(globals: &Globals) -> Result<Self, Failure> {
        let target = Target::of(globals)?;
        target.is_there()?;
        let mut session = Self::open_unchecked(globals).await?;
        session.messenger.check_tables().await?;
        if target.fences.is_empty() {
            // The usual case: the business database is where the messages are.
            for own in [in_schema(&target), source(&target, &target.database_url)] {
                let with_fence = open(&target, [("store", own)]).await?;
                if with_fence.check_tables().await.is_ok() {
                    session.messenger = with_fence;
                    break;
                }
            }
        }
        Ok(session)
    }

    /// What was said beforehand about changes.
    pub(crate) fn consent(globals: &Globals, target: &Target) -> Consent {
        Consent::new(globals, target.production.clone())
    }

    /// The broker, if one was named.
    pub(crate) fn rabbitmq_if_named(&self) -> Option<RabbitMq> {
        self.amqp_url.as_ref().map(|url| RabbitMq::new(url).connection_name("tm"))
    }

    pub(crate) fn rabbitmq(&self) -> Result<RabbitMq, Failure> {
        self.rabbitmq_if_named().ok_or_else(|| {
            Failure::usage(
                "where is RabbitMQ? Give --amqp-url, or the context of tm.toml its amqp_url; without a context, TM_AMQP_URL or AMQP_URL does",
            )
        })
    }

    /// How long an answer may take.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits for an answer, but not for ever.
    pub(crate) async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        within(self.patience, answer).await
    }

    /// The same without a look at the tables.
    pub(crate) async fn open_unchecked(globals: &Globals) -> Result<Self, Failure> {
        let target = Target::of(globals)?;
        let user = globals.acting.clone().unwrap_or_else(|| {
            let name = whoami::username().unwrap_or_else(|_| "somebody".into());
            format!("{name}@{}", whoami::hostname().unwrap_or_else(|_| "unknown".into()))
        });
        Ok(Self {
            messenger: open(&target, named(&target)).await?,
            target: target.shown(),
            amqp_url: target.amqp_url.clone(),
            patience: globals.timeout,
            actor: Actor::new(user, "cli"),
            consent: Self::consent(globals, &target),
            dry_run: globals.dry_run,
        })
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        Err(Failure::new(Exit::Failed, format!("no answer within {patience:?}: --timeout allows for more")))
    })
}

/// A database of this target, with the names that its tables have.
pub(crate) fn source(target: &Target, url: &str) -> DatabaseSource {
    let source = DatabaseSource::from(url);
    match &target.table_prefix {
        Some(prefix) => source.table_prefix(prefix.clone()),
        None => source,
    }
}

/// The store's, with the schema that was named.
fn in_schema(target: &Target) -> DatabaseSource {
    let store = source(target, &target.database_url);
    match &target.schema {
        Some(schema) => store.schema(schema.clone()),
        None => store,
    }
}

fn named(target: &Target) -> impl Iterator<Item = (&str, DatabaseSource)> {
    target.fences.iter().map(|(name, url)| (name.as_str(), source(target, url)))
}

async fn open<'a>(
    target: &Target,
    fences: impl IntoIterator<Item = (&'a str, DatabaseSource)>,
) -> Result<Messenger, Failure> {
    // It stores no messages, and must work where an application's settings were fitted to a small server.
    let builder = Messenger::builder(in_schema(target)).settings(Settings::default().body_limit(1));
    let builder = fences.into_iter().fold(builder, |builder, (name, fence)| builder.fence(name, fence));
    Ok(Box::pin(builder.build()).await?)
}

impl Target {
    /// Errs for SQLite files that are not there: opening one would make an empty one.
    pub(crate) fn is_there(&self) -> Result<(), Failure> {
        let fences = self.fences.iter().map(|(_, url)| url);
        [&self.database_url].into_iter().chain(fences).try_for_each(|url| there(url))
    }
}

fn there(url: &str) -> Result<(), Failure> {
    let Some(file) = url.strip_prefix("sqlite:") else { return Ok(()) };
    let file = file.strip_prefix("//").unwrap_or(file);
    let file = file.split('?').next().unwrap_or(file);
    if Path::new(file).exists() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("there is no file `{file}`: `tm migrate` would make it")))
}
