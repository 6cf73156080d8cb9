//! Whether a change is meant.

use crate::arguments::Globals;
use crate::exit::Failure;
use crate::output::ask;

/// What somebody who changes something has said beforehand.
#[derive(Debug)]
pub(crate) struct Consent {
    /// The name that must be typed before something is changed.
    production: Option<String>,
    /// `--yes`
    yes: bool,
    /// `--no-input`
    no_input: bool,
    /// The context was named, and not left to the file.
    named: bool,
}

impl Consent {
    pub(crate) fn new(globals: &Globals, production: Option<String>) -> Self {
        let named = globals.context.is_some();
        Self { production, yes: globals.yes, no_input: globals.no_input, named }
    }

    /// Makes sure that a change is meant. In a production context its name must be typed; `--yes` is enough only where
    /// the context was named as well.
    pub(crate) fn make_sure(&self, what: &str) -> Result<(), Failure> {
        let Some(name) = &self.production else { return Ok(()) };
        if self.yes && self.named {
            return Ok(());
        }
        let question = format!("{what} in production. Type the name of the context, `{name}`, to go on:");
        if self.no_input {
            return Err(Failure::usage(format!(
                "{question}\n--no-input asks nothing: give --yes and --context {name} if it is meant"
            )));
        }
        if ask(&question)? == *name {
            return Ok(());
        }
        Err(Failure::usage(format!("that is not `{name}`: nothing was done")))
    }
}
