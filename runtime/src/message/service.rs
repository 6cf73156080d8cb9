//! The services of a messenger: its own, and those whose work it has taken over.
//!
//! Several services may keep their messages in one store, each with handlers and a broker of its own. What is
//! decided about a row follows from its service: who delivers it, and who answers for it unless a fence does.

use super::DEFAULT_SERVICE;
use crate::error::{Error, ErrorKind};

/// The longest name, in bytes.
const LONGEST: usize = 100;

/// Names of services, the messenger's own first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Services(Vec<String>);

impl Services {
    /// `own`, or the default, and old names.
    pub(crate) fn new(own: Option<String>, old: Vec<String>) -> Result<Self, Error> {
        let mut names = vec![own.unwrap_or_else(|| DEFAULT_SERVICE.to_owned())];
        for name in old {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.iter().try_for_each(|name| validate(name))?;
        Ok(Self(names))
    }

    pub(crate) fn own(&self) -> &str {
        &self.0[0]
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether a message of this service is ours to deliver.
    pub(crate) fn has(&self, service: &str) -> bool {
        self.0.iter().any(|name| name == service)
    }
}

fn validate(name: &str) -> Result<(), Error> {
    let wrong = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > LONGEST {
        format!("has {} bytes", name.len())
    } else if let Some(wrong) = name.chars().find(|c| c.is_control() || c.is_whitespace() || *c == ':') {
        format!("contains {wrong:?}")
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Configuration,
        format!(
            "the service name {name:?} {wrong}: a name has 1 to {LONGEST} bytes, without spaces, control characters and \
             colons, such as `orders`"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(own: &str, old: &[&str]) -> Result<Services, Error> {
        Services::new(Some(own.to_owned()), old.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_default_is_a_constant() {
        let services = Services::new(None, Vec::new()).expect("valid");
        assert_eq!((services.own(), services.names()), ("default", &["default".to_owned()][..]));
    }

    #[test]
    fn old_names_are_ours_and_others_are_not() {
        let services = services("orders", &["shop", "orders", "default", "shop"]).expect("valid");
        assert_eq!(services.names(), ["orders", "shop", "default"]);
        assert!(services.has("default") && !services.has("billing"));
    }

    #[test]
    fn wrong_names_are_refused_with_the_reason() {
        let long = "x".repeat(101);
        for (name, expected) in [
            ("", "is empty"),
            (long.as_str(), "has 101 bytes"),
            ("my orders", "contains ' '"),
            ("a\0b", "contains '\\0'"),
            ("team:orders", "contains ':'"),
        ] {
            for error in [services(name, &[]), services("orders", &[name])] {
                let error = error.expect_err("accepted").to_string();
                assert!(error.contains(expected) && error.contains("1 to 100 bytes"), "{error}");
            }
        }
        services(&"ü".repeat(50), &["org/orders-2.x"]).expect("valid");
    }
}
