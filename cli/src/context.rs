//! Contexts: what would otherwise be given with each command, under a name, in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use serde::Deserialize;
use url::Url;

use crate::arguments::Globals;
use crate::exit::Failure;

/// The configuration file.
///
/// ```toml
/// [context.production]
/// database_url = "postgres://operator@db/messages"
/// fences = { shop = "postgres://operator@db/shop" }
/// amqp_url = "amqps://operator@rabbit/shop"
/// production = true
/// ```
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Which one counts if none is named.
    default_context: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Context>,
}

/// Where to look, and how careful to be there.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    database_url: Option<String>,
    #[serde(default)]
    fences: BTreeMap<String, String>,
    amqp_url: Option<String>,
    table_prefix: Option<String>,
    schema: Option<String>,
    /// What changes something must be confirmed by the context's name.
    #[serde(default)]
    production: bool,
}

/// What the command line, the environment and the context come to.
pub(crate) struct Target {
    pub(crate) database_url: String,
    pub(crate) fences: Vec<(String, String)>,
    pub(crate) amqp_url: Option<String>,
    pub(crate) table_prefix: Option<String>,
    pub(crate) schema: Option<String>,
    /// The name that must be typed before something is changed.
    pub(crate) production: Option<String>,
}

/// Without what is secret in URLs.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.shown()).finish()
    }
}

impl Target {
    /// Where it leads, without users and passwords.
    pub(crate) fn shown(&self) -> String {
        let fences =
            self.fences.iter().map(|(name, url)| format!(", the fence `{name}` at {}", without_user(url)));
        let rabbitmq = self.amqp_url.iter().map(|url| format!(", RabbitMQ at {}", without_user(url)));
        let others = fences.chain(rabbitmq).collect::<String>();
        format!("the message store at {}{others}", without_user(&self.database_url))
    }

    pub(crate) fn of(globals: &Globals) -> Result<Self, Failure> {
        let (name, context) = context(globals)?;
        let from_environment = || env::var("TM_DATABASE_URL").or_else(|_| env::var("DATABASE_URL")).ok();
        // What is given, or in the environment, comes before a context that only the file names; unless that is the same.
        let given = globals.database_url.clone().or_else(from_environment).filter(|url| !url.is_empty());
        let (name, context) = match given {
            Some(url) if globals.context.is_none() && context.database_url.as_ref() != Some(&url) => {
                (None, Context { database_url: Some(url), ..Context::default() })
            }
            _ => (name, context),
        };
        let database_url = globals
            .database_url
            .clone()
            .or(context.database_url)
            .or_else(from_environment)
            .filter(|url| !url.is_empty())
            .ok_or_else(|| {
                Failure::usage(
                    "where is the message store? Give --database-url, set TM_DATABASE_URL or DATABASE_URL, or name a context \
                     of tm.toml by --context",
                )
            })?;
        let amqp_url = amqp_url(globals, name.is_some(), context.amqp_url);
        let mut fences = globals.fences.iter().map(|fence| named(fence)).collect::<Result<Vec<_>, _>>()?;
        for (name, url) in context.fences {
            if !fences.iter().any(|(given, _)| *given == name) {
                fences.push((name, url));
            }
        }
        Ok(Self {
            database_url,
            fences,
            amqp_url,
            table_prefix: globals.table_prefix.clone().or(context.table_prefix),
            schema: globals.schema.clone().or(context.schema),
            production: name.filter(|_| context.production),
        })
    }
}

/// Where a context counts, its broker does: what is in the environment may belong to another store.
fn amqp_url(globals: &Globals, by_context: bool, of_context: Option<String>) -> Option<String> {
    let from_environment = || env::var("TM_AMQP_URL").or_else(|_| env::var("AMQP_URL")).ok();
    let otherwise = || if by_context { of_context } else { from_environment() };
    globals.amqp_url.clone().or_else(otherwise).filter(|url| !url.is_empty())
}

fn context(globals: &Globals) -> Result<(Option<String>, Context), Failure> {
    let Some(path) = globals.config.clone().or_else(default_file) else {
        return match &globals.context {
            None => Ok((None, Context::default())),
            Some(name) => Err(Failure::usage(format!(
                "there is no configuration file for the context `{name}`: write tm.toml here, or name a file by --config"
            ))),
        };
    };
    let file = read(&path)?;
    let Some(name) = globals.context.clone().or(file.default_context) else {
        return Ok((None, Context::default()));
    };
    if let Some(context) = file.context.get(&name) {
        return Ok((Some(name), context.clone()));
    }
    let known: Vec<_> = file.context.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    Err(Failure::usage(format!("{} has no context `{name}`; it has: {known}", path.display())))
}

fn read(path: &Path) -> Result<File, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{shown} can't be read: {error}")))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        // Not the line itself, which may have a password.
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Failure::usage(format!("{shown}, line {line}: {}", error.message()))
    })
}

/// A fence's name and URL. What is wrong is said without the URL, which may have a password.
fn named(fence: &str) -> Result<(String, String), Failure> {
    match fence.split_once('=') {
        Some((name, url)) if !name.is_empty() && !name.contains("://") && url.contains("://") => {
            Ok((name.into(), url.into()))
        }
        _ => {
            Err(Failure::usage("a fence is given as NAME=URL, as in --fence shop=postgres://user@host/shop"))
        }
    }
}

/// In the current directory, or in the user's configuration directory.
fn default_file() -> Option<PathBuf> {
    let in_home = || env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let user = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(in_home);
    let files = [Some(PathBuf::from("tm.toml")), user.map(|folder| folder.join("tm.toml"))];
    files.into_iter().flatten().find(|file| file.is_file())
}

/// Where a URL leads, and nothing that could be a password.
fn without_user(url: &str) -> String {
    if let Some(file) = url.strip_prefix("sqlite:") {
        return format!("sqlite:{}", file.split('?').next().unwrap_or(file));
    }
    match Url::parse(url) {
        // Then part of a password may have been taken for it, as where that has a `/`.
        Ok(url) if !url.path().contains('@') => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or("…"), url.path())
        }
        // Several hosts, say.
        _ => format!("{}://…", url.split("://").next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_in_a_debug_text() {
        let target = Target {
            database_url: "postgres://ana:s3cret@db/shop".into(),
            fences: vec![("shop".into(), "mysql://ana:s3cret@db/shop".into())],
            amqp_url: Some("amqp://ana:s3cret@rabbit/x".into()),
            table_prefix: None,
            schema: None,
            production: None,
        };
        let text = format!("{target:?}");
        assert!(text.contains("RabbitMQ at amqp://rabbit/x") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn where_a_url_leads_is_shown_without_what_is_secret() {
        for (url, shown) in [
            ("postgres://ana:s3cret@db:5433/shop?options=x", "postgres://db:5433/shop"),
            ("postgres://db/messages?user=op@corp&password=s3cret", "postgres://db/messages"),
            ("mysql://ana:p%40ss@db/shop", "mysql://db/shop"),
            ("postgres://ana:s3cret@one,two:5433/shop", "postgres://…"),
            ("amqp://ana:12/cret@host/x", "amqp://…"),
            ("sqlite:///var/lib/shop.db?mode=rw", "sqlite:///var/lib/shop.db"),
        ] {
            let found = without_user(url);
            assert!(
                found == shown || (url.contains("one,two") && !found.contains("s3cret")),
                "{url}: {found}"
            );
        }
    }
}
