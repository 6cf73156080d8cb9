//! Where the broker is and how to log in, checked; nothing here shows the password.

use std::fmt;

use lapin::tcp::OwnedTLSConfig;
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::error::{Error, ErrorKind};

/// Seconds. What the server proposes (60) leaves a dead connection unnoticed for two minutes.
const HEARTBEAT: u16 = 10;

/// A broker: one node, or the nodes of a cluster.
#[derive(Clone)]
pub(super) struct Broker {
    /// At least one. They differ in host and port only.
    pub(super) nodes: Vec<AMQPUri>,
    pub(super) tls: OwnedTLSConfig,
    /// What connections are called in the broker's lists.
    pub(super) name: String,
}

/// Hosts, ports and virtual host.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.nodes.iter().map(place).collect();
        let vhost = self.vhost();
        write!(f, "{}/{}", nodes.join(","), vhost.strip_prefix('/').unwrap_or(vhost))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({self})")
    }
}

impl Broker {
    pub(super) fn new(url: &str, ca_certificate: Option<String>, name: String) -> Result<Self, Error> {
        let nodes = parse(url)?;
        let encrypted = nodes[0].scheme == AMQPScheme::AMQPS;
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
        Ok(Self { nodes, tls: OwnedTLSConfig { identity: None, cert_chain: ca_certificate }, name })
    }

    /// Who logs in.
    pub(super) fn user(&self) -> &str {
        &self.nodes[0].authority.userinfo.username
    }

    /// The virtual host's name.
    pub(super) fn vhost(&self) -> &str {
        &self.nodes[0].vhost
    }
}

/// Host and port of a node.
pub(super) fn place(node: &AMQPUri) -> String {
    format!("{}:{}", node.authority.host, node.authority.port)
}

/// Reads a URL, which may name several hosts: as many URLs of one host.
fn parse(url: &str) -> Result<Vec<AMQPUri>, Error> {
    let Some((scheme @ ("amqp" | "amqps"), rest)) = url.split_once("://") else {
        return Err(wrong("the RabbitMQ URL must begin with `amqp://` or `amqps://`"));
    };
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let (login, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    if hosts.contains(',') && hosts.split(',').any(|host| host.is_empty() || host.starts_with(':')) {
        return Err(wrong(
            "the RabbitMQ URL names several hosts, and one is empty: write `host1:port,host2:port`",
        ));
    }
    hosts.split(',').map(|host| node(scheme, &format!("{login}{host}"), path)).collect()
}

/// Reads the URL of one node. What the parser says is not passed on: it repeats the URL.
fn node(scheme: &str, authority: &str, path: &str) -> Result<AMQPUri, Error> {
    let url = format!("{scheme}://{authority}{path}");
    // `/`, `?` or `#` in a password end the authority; the rest of it would show up as the vhost. So would parameters
    // without a `?`.
    let vhost = path.split('?').next().unwrap_or_default();
    let mut uri: AMQPUri = match url.parse() {
        Ok(uri) if !path.contains(['@', '#']) && !vhost.contains('=') => uri,
        _ => {
            return Err(wrong(format!(
                "the RabbitMQ URL can't be read: it must look like `{scheme}://user:password@host:port/vhost`, or with \
                 several nodes of a cluster `{scheme}://user:password@host1:port,host2:port/vhost`, with special characters in user, password and vhost percent-encoded (`/` is `%2F`, `@` is `%40`, `#` is `%23`, `=` is `%3D`), and parameters after a `?`"
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
            ("amqp://shop:s3,cr3t@one:5673,two,[::1]/a", "one:5673,two:5672,::1:5672/a"),
        ] {
            let broker = broker(url).expect(url);
            assert_eq!(broker.to_string(), shown);
            assert!(!format!("{broker:?}").contains("s3"));
            assert!(broker.nodes.iter().all(|node| node.query.heartbeat == Some(HEARTBEAT)));
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
            ("amqp://shop:x@host/shop&auth_mechanism=s3cr3t", "after a `?`"),
            ("amqp://shop:12?s3cr3t@host/", "percent-encoded"),
            ("amqp://shop:s3cr3t@host/?heartbeat=soon", "percent-encoded"),
            ("amqp://shop:s3cr3t@one,two:port/", "percent-encoded"),
            ("amqp://shop:s3cr3t@one,,two/", "one is empty"),
            ("amqp://shop:s3cr3t@one,:5673/", "one is empty"),
            ("amqp://shop:s3cr3t@one,/", "one is empty"),
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
