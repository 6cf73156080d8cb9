//! The check-back handlers of this process, by name.

use std::collections::{BTreeSet, HashMap};

use super::arguments::DataMap;
use super::handler::CheckBack;
use crate::error::{Error, ErrorKind};
use crate::message::service::Services;
use crate::message::{AnsweredBy, Half};

/// A handler that an attribute registered at link time, under a name that is stored with messages.
///
/// A crate that the binary never names is not linked, and registers nothing: hence
/// [`MessengerBuilder::expect`](crate::MessengerBuilder::expect).
#[derive(Clone, Copy, Debug)]
pub struct HandlerRegistration {
    name: &'static str,
    /// The package that the annotated function is in, where it was compiled by Cargo.
    package: Option<&'static str>,
    handler: fn() -> CheckBack,
}

impl HandlerRegistration {
    /// A handler, its name, and the package that it is in.
    pub const fn new(name: &'static str, package: Option<&'static str>, handler: fn() -> CheckBack) -> Self {
        Self { name, package, handler }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn package(&self) -> Option<&'static str> {
        self.package
    }
}

inventory::collect!(HandlerRegistration);

#[derive(Clone, Debug)]
struct Registered {
    handler: CheckBack,
    package: Option<&'static str>,
}

/// The handlers that this process can ask, and the data that they take.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    handlers: HashMap<String, Registered>,
    pub(crate) data: DataMap,
}

impl Registry {
    /// The handlers that were registered at link time.
    pub(crate) fn linked(data: DataMap) -> Result<Self, Error> {
        let mut registry = Self { handlers: HashMap::new(), data };
        for producer in inventory::iter::<HandlerRegistration> {
            registry.add(producer.name, producer.package, (producer.handler)())?;
        }
        Ok(registry)
    }

    pub(crate) fn add(
        &mut self,
        name: &str,
        package: Option<&'static str>,
        handler: CheckBack,
    ) -> Result<(), Error> {
        if name.is_empty() {
            return Err(configuration(
                "a check-back handler has an empty name: the name is stored with its messages",
            ));
        }
        let has_all = self.data.has_all(&(handler.needs)());
        has_all.map_err(|what| configuration(format!("the check-back handler `{name}` takes {what}")))?;
        if let Some(other) = self.handlers.insert(name.to_owned(), Registered { handler, package }) {
            let packages = match (other.package, package) {
                (Some(one), Some(two)) if one != two => format!(", in the packages `{one}` and `{two}`"),
                _ => String::new(),
            };
            return Err(configuration(format!(
                "there are two check-back handlers named `{name}`{packages}: the name is stored with messages and must \
                 be unique; give one of them another `name = \"..\"`"
            )));
        }
        Ok(())
    }

    /// Lets the handler `new` answer for messages that were stored under `old`.
    pub(crate) fn alias(&mut self, old: &str, new: &str) -> Result<(), Error> {
        let Registered { handler, package } = self.handlers.get(new).cloned().ok_or_else(|| {
            configuration(format!(
                "the alias `{old}` leads to the check-back handler `{new}`, {}",
                self.unknown()
            ))
        })?;
        self.add(old, package, handler)
    }

    /// Refuses names without a handler.
    pub(crate) fn expect(&self, names: &[String]) -> Result<(), Error> {
        match names.iter().find(|name| !self.handlers.contains_key(*name)) {
            None => Ok(()),
            Some(name) => Err(configuration(format!(
                "the check-back handler `{name}` is expected, {}; a crate that the binary never names registers \
                 nothing: write `use the_crate as _;`, or add `.check_back(\"{name}\", handler)` to the builder",
                self.unknown()
            ))),
        }
    }

    /// The name, if a handler has it.
    pub(crate) fn require(&self, name: String) -> Result<String, Error> {
        if self.handlers.contains_key(&name) {
            return Ok(name);
        }
        Err(configuration(format!("a call names the check-back handler `{name}`, {}", self.unknown())))
    }

    /// The names of all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }

    /// The packages that they are in, as far as that is known.
    pub(crate) fn packages(&self) -> BTreeSet<&'static str> {
        self.handlers.values().filter_map(|handler| handler.package).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&CheckBack> {
        self.handlers.get(name).map(|registered| &registered.handler)
    }

    /// The packages of a handler and of what it would be asked about, if they are known to differ.
    pub(crate) fn stranger_to<'h>(&self, name: &str, half: &'h Half) -> Option<(&'static str, &'h str)> {
        let (ours, theirs) = (self.handlers.get(name)?.package?, half.package.as_deref()?);
        (ours != theirs).then_some((ours, theirs))
    }

    /// What these handlers answer for: messages of these services.
    pub(crate) fn answerers(&self, services: &Services) -> Vec<AnsweredBy> {
        let mut names: Vec<_> = self.handlers.keys().collect();
        names.sort_unstable();
        let handler = |(service, name): (&String, &String)| AnsweredBy::Handler {
            service: service.clone(),
            name: name.clone(),
        };
        let services = services.names().iter();
        services.flat_map(|service| names.iter().map(move |name| (service, *name))).map(handler).collect()
    }

    fn unknown(&self) -> String {
        let mut names: Vec<_> = self.handlers.keys().map(|name| format!("`{name}`")).collect();
        names.sort_unstable();
        match names.as_slice() {
            [] => "and no handler is registered".into(),
            names => format!("and the registered ones are {}", names.join(", ")),
        }
    }
}

fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
