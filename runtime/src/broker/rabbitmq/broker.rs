//! Where the broker is and how to log in, checked; nothing here shows the password.

use std::fmt;

use lapin::tcp::OwnedTLSConfig;
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::error::{Error, ErrorKind};

/// Seconds. What the server proposes (60) leaves a dead connection unnoticed for two minutes.
const HEARTBEAT: u16 = 10;

/// A broker.
#[derive(Clone)]
pub(super) struct Broker {
    pub(super) uri: AMQPUri,
    pub(super) tls: OwnedTLSConfig,
    /// What connections are called in the broker's lists.
    pub(super) name: String,
}

/// Host, port and virtual host.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { authority, vhost, .. } = &self.uri;
        write!(f, "{}:{}/{}", authority.host, authority.port, vhost.strip_prefix('/').unwrap_or(vhost))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({self})")
    }
}

impl Broker {
    pub(super) fn new(url: &str, ca_certificate: Option<String>, name: String) -> Result<Self, Error> {
        let uri = parse(url)?;
        let encrypted = uri.scheme == AMQPScheme::AMQPS;
        if encrypted && !cfg!(feature = "tls") {
            return Err(wrong(
                "the RabbitMQ URL begins with `amqps://`, and this program was built without TLS: \
                 run `cargo add transactional-message --features rabbitmq,tls`",
            ));
        }
        if let Some(pem) = &ca_certificate {
            if !encrypted {
                return Err(wrong(
                    "a CA certificate is given, but the RabbitMQ URL begins with `amqp://`: \
                     begin it with `amqps://`, or leave out the certificate",
                ));
            }
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(wrong(
                    "the CA certificate is not PEM: give the text that begins with `-----BEGIN CERTIFICATE-----`",
                ));
            }
        }
        Ok(Self { uri, tls: OwnedTLSConfig { identity: None, cert_chain: ca_certificate }, name })
    }

    /// The virtual host's name.
    pub(super) fn vhost(&self) -> &str {
        &self.uri.vhost
    }
}

/// Reads a URL. What the parser says is not passed on: it repeats the URL.
fn parse(url: &str) -> Result<AMQPUri, Error> {
    let Some((scheme @ ("amqp" | "amqps"), rest)) = url.split_once("://") else {
        return Err(wrong("the RabbitMQ URL must begin with `amqp://` or `amqps://`"));
    };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    // `/`, `?` or `#` in a password end the authority; the rest of it would show up as the vhost.
    let mut uri: AMQPUri = match url.parse() {
        Ok(uri) if !path.contains(['@', '#']) => uri,
        _ => {
            return Err(wrong(format!(
                "the RabbitMQ URL can't be read: it must look like `{scheme}://user:password@host:port/vhost`, \
                 with special characters in user, password and vhost percent-encoded (`/` is `%2F`, `@` is `%40`, `#` is `%23`)"
            )));
        }
    };
    // lapin's parser takes an IPv6 address for no host at all, and that for `localhost`.
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        address.clone_into(&mut uri.authority.host);
    }
    if uri.vhost.is_empty() {
        // `amqp://host/`: strictly the virtual host with the empty name, which nobody has.
        uri.vhost = "/".into();
    }
    uri.query.heartbeat = uri.query.heartbeat.filter(|seconds| *seconds > 0).or(Some(HEARTBEAT));
    Ok(uri)
}

/// A name that AMQP can carry.
pub(super) fn short(what: &str, value: &str) -> Result<ShortString, Error> {
    ShortString::try_new(value).map_err(|_| {
        wrong(format!("the {what} for RabbitMQ has {} bytes: AMQP carries at most 255", value.len()))
    })
}

pub(super) fn wrong(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, problem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broker(url: &str) -> Result<Broker, Error> {
        Broker::new(url, None, "test".into())
    }

    #[test]
    fn a_broker_shows_where_it_is_and_no_password() {
        for (url, shown) in [
            ("amqp://shop:s3cr3t@rabbit.example:5673/orders", "rabbit.example:5673/orders"),
            ("amqp://shop:s3cr3t@rabbit.example", "rabbit.example:5672/"),
            ("amqp://shop:s3cr3t@rabbit.example/", "rabbit.example:5672/"),
            ("amqp://shop:s3cr3t@rabbit.example/%2f", "rabbit.example:5672/"),
            ("amqp://shop:s3%40cr3t@[::1]:5673/a", "::1:5673/a"),
        ] {
            let broker = broker(url).expect(url);
            assert_eq!(broker.to_string(), shown);
            assert!(!format!("{broker:?}").contains("s3"));
            assert_eq!(broker.uri.query.heartbeat, Some(HEARTBEAT));
        }
    }

    #[test]
    fn mistakes_are_told_without_the_url() {
        for (url, expected) in [
            ("http://shop:s3cr3t@host/", "must begin with `amqp://`"),
            ("shop:s3cr3t@host", "must begin with `amqp://`"),
            ("amqp://shop:s3cr3t@host:port/", "percent-encoded"),
            ("amqp://shop:12/s3cr3t@host/", "percent-encoded"),
            ("amqp://shop:12#s3cr3t@host/", "percent-encoded"),
            ("amqp://shop:12?s3cr3t@host/", "percent-encoded"),
            ("amqp://shop:s3cr3t@host/?heartbeat=soon", "percent-encoded"),
        ] {
            let error = broker(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Configuration);
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected) && !text.contains("s3cr3t"), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any text is read as a URL or refused, and a password in it is not shown.
        #[test]
        fn any_text_is_read_or_refused_and_not_shown(
            scheme in prop_oneof!["amqps?://", "\\PC{0,8}"], user in "\\PC{0,8}",
            password in "s3cr3t[ -~]{0,12}", rest in prop_oneof!["\\PC{0,40}", "[a-z0-9:/?=&%@#\\[\\]]{0,40}"],
        ) {
            let shown = |url: &str| match broker(url) {
                Ok(broker) => format!("{broker} {broker:?}"),
                Err(error) => format!("{error} {error:?} {error:#}"),
            };
            let url = format!("{scheme}{user}:{password}@{rest}");
            prop_assert!(!shown(&url).contains("s3cr3t"), "{url}: {}", shown(&url));
            let _ = shown(&rest);
        }
    }

    #[test]
    fn certificates_go_with_tls() {
        let text = |url, pem: &str| {
            Broker::new(url, Some(pem.into()), "test".into()).map_err(|error| error.to_string())
        };
        assert!(text("amqp://host", "x").expect_err("accepted").contains("`amqps://`"));
        let encrypted = text("amqps://host", "no PEM").expect_err("accepted");
        let expected = if cfg!(feature = "tls") { "BEGIN CERTIFICATE" } else { "cargo add" };
        assert!(encrypted.contains(expected), "{encrypted}");
    }
}
