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
    /// The context was named on the command line, and not left to a file or the environment.
    named: bool,
}

impl Consent {
    pub(crate) fn new(globals: &Globals, production: Option<String>) -> Self {
        let named = globals.context_is_given;
        Self { production, yes: globals.yes, no_input: globals.no_input, named }
    }

    /// Makes sure that a change is meant. In a production context its name must be typed; `--yes` is enough only where
    /// the context was named as well.
    pub(crate) async fn make_sure(&self, what: &str) -> Result<(), Failure> {
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
        if ask(&question).await? == *name {
            return Ok(());
        }
        Err(Failure::usage(format!("that is not `{name}`: nothing was done")))
    }

    /// The same for something that is asked about everywhere; answered with yes or no outside of production.
    pub(crate) async fn agree(&self, what: &str) -> Result<(), Failure> {
        if self.production.is_some() {
            return self.make_sure(what).await;
        }
        if self.yes {
            return Ok(());
        }
        let question = format!("{what}. Go on? [y/N]");
        if self.no_input {
            return Err(Failure::usage(format!(
                "{question}\n--no-input asks nothing: give --yes if it is meant"
            )));
        }
        match ask(&question).await?.as_str() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::usage("nothing was done")),
        }
    }
}
