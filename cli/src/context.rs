//! Contexts: what would otherwise be given with each command, under a name, in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

use crate::arguments::Globals;
use crate::exit::Failure;

/// The configuration file.
///
/// ```toml
/// [context.production]
/// database_url = "postgres://operator@db/messages"
/// fences = { shop = "postgres://operator@db/shop" }
/// production = true
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Which one counts if none is named.
    default_context: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Context>,
}

/// Where to look, and how careful to be there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    database_url: Option<String>,
    #[serde(default)]
    fences: BTreeMap<String, String>,
    table_prefix: Option<String>,
    schema: Option<String>,
    /// What changes something must be confirmed by the context's name.
    #[serde(default)]
    production: bool,
}

/// What the command line, the environment and the context come to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) database_url: String,
    pub(crate) fences: Vec<(String, String)>,
    pub(crate) table_prefix: Option<String>,
    pub(crate) schema: Option<String>,
    /// The name that must be typed before something is changed.
    pub(crate) production: Option<String>,
}

impl Target {
    pub(crate) fn of(globals: &Globals) -> Result<Self, Failure> {
        let (name, context) = context(globals)?;
        let from_environment = || env::var("TM_DATABASE_URL").or_else(|_| env::var("DATABASE_URL")).ok();
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
        let mut fences = globals.fences.clone();
        for (name, url) in context.fences {
            if !fences.iter().any(|(given, _)| *given == name) {
                fences.push((name, url));
            }
        }
        Ok(Self {
            database_url,
            fences,
            table_prefix: globals.table_prefix.clone().or(context.table_prefix),
            schema: globals.schema.clone().or(context.schema),
            production: name.filter(|_| context.production),
        })
    }
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
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}

/// In the current directory, or in the user's configuration directory.
fn default_file() -> Option<PathBuf> {
    let in_home = || env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let user = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(in_home);
    let files = [Some(PathBuf::from("tm.toml")), user.map(|folder| folder.join("tm.toml"))];
    files.into_iter().flatten().find(|file| file.is_file())
}
