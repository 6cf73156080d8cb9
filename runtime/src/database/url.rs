//! URLs of servers, looked at before sqlx reads them.
//!
//! A special character in a password that is not percent-encoded ends the part of the URL that it
//! stands in, and the rest of the password becomes a database's name or a parameter's. Such a name is
//! repeated by servers, and a parameter that it does not know is logged by sqlx, with its value.

use std::str::FromStr;

use sqlx::Database;

use super::login::{Options, Server};
use super::refusal::configuration;
use crate::error::Error;

/// A kind of server, as its URLs are written.
pub(super) struct UrlFormat {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
    /// What sqlx knows.
    pub(super) parameters: &'static [&'static str],
    /// A statement that has a row where the server may not be written to.
    is_read_only: &'static str,
    /// Whether it takes [`TARGET`].
    takes_target: bool,
}

/// libpq's parameter, of which the one meaning that fits is taken: what is stored here must be written.
const TARGET: &str = "target_session_attrs";

#[cfg(feature = "postgres")]
pub(super) const POSTGRES: UrlFormat = UrlFormat {
    name: "PostgreSQL",
    example: "postgres://user:password@host:5432/database",
    parameters: &[
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ],
    is_read_only: "SELECT 1 WHERE pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
    takes_target: true,
};

#[cfg(feature = "mysql")]
pub(super) const MYSQL: UrlFormat = UrlFormat {
    name: "MySQL",
    example: "mysql://user:password@host:3306/database",
    parameters: &[
        "sslmode",
        "ssl-mode",
        "sslca",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "charset",
        "collation",
        "statement-cache-capacity",
        "socket",
        "timezone",
        "time-zone",
    ],
    is_read_only: "SELECT 1 FROM DUAL WHERE CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF')",
    takes_target: false,
};

impl UrlFormat {
    /// Reads a URL, which may name several hosts. The URL itself stays out of every message.
    pub(super) fn read<DB: Database>(&self, url: &str) -> Result<Vec<Server<DB>>, Error>
    where
        Options<DB>: FromStr,
    {
        let Self { name, example, parameters, is_read_only, takes_target } = self;
        let plain = |parts: &Parts<'_>| !parts.path.contains(['@', '#']) && !parts.query.contains('#');
        let Some(Parts { scheme, login, hosts, path, query }) = parts(url).filter(plain) else {
            return Err(configuration(format!(
                "the {name} URL can't be read; it looks like `{example}`, with special characters in user, password and \
                 database percent-encoded (`/` is `%2F`, `@` is `%40`, `?` is `%3F`, `#` is `%23`)"
            )));
        };
        let all: Vec<_> = query.split('&').filter(|one| !one.is_empty()).collect();
        let (target, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| *takes_target && key(one) == TARGET);
        if target.iter().any(|one| !one.ends_with("=read-write") && !one.ends_with("=primary")) {
            return Err(configuration(format!(
                "the {name} URL has a `{TARGET}` under which nothing could be stored: write `{TARGET}=read-write`"
            )));
        }
        if !others.iter().all(|one| parameters.contains(&key(one))) {
            return Err(configuration(format!(
                "the {name} URL has a parameter that is not known: after the `?` there may be {}; a `?` in the password \
                 is written `%3F`",
                parameters.join(", ")
            )));
        }
        let hosts: Vec<_> = hosts.split(',').collect();
        if hosts.len() > 1 && hosts.iter().any(|host| host.is_empty() || host.starts_with(':')) {
            return Err(configuration(format!(
                "the {name} URL names several hosts, and one is empty: write `host1:port,host2:port`"
            )));
        }
        // Each of them would lead to one and the same server.
        let elsewhere = others
            .iter()
            .map(|one| key(one))
            .find(|name| ["host", "hostaddr", "port", "socket"].contains(name));
        if let (true, Some(parameter)) = (hosts.len() > 1, elsewhere) {
            return Err(configuration(format!(
                "the {name} URL names several hosts, and has the parameter `{parameter}`: leave that out"
            )));
        }
        if others.iter().any(|one| one.starts_with("host=") && one.contains(',')) {
            return Err(configuration(format!(
                "the {name} URL names several hosts in the parameter `host`: write `//host1:port,host2:port/` instead"
            )));
        }
        let must_be_writable = hosts.len() > 1 || !target.is_empty();
        let query = others.join("&");
        let query = if query.is_empty() { query } else { format!("?{query}") };
        let server = |host: &str| {
            let options = format!("{scheme}://{login}{host}{path}{query}").parse().map_err(|_| {
                configuration(format!("the {name} URL can't be read; it looks like `{example}`"))
            })?;
            Ok(Server { place: host.into(), options, is_read_only: must_be_writable.then_some(is_read_only) })
        };
        hosts.into_iter().map(server).collect()
    }
}

/// A URL, taken apart. Several hosts are more than its parser knows.
struct Parts<'a> {
    scheme: &'a str,
    /// With the `@`.
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

/// Without `//` everything would be a database's name.
fn parts(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, rest) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let (login, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(Parts { scheme, login, hosts, path, query })
}

/// The name of a parameter; `options[name]` is one of PostgreSQL's `options`.
fn key(parameter: &str) -> &str {
    let name = parameter.split('=').next().unwrap_or_default();
    if name.starts_with("options[") { "options" } else { name }
}

#[cfg(all(test, feature = "postgres", feature = "mysql"))]
mod tests {
    use sqlx::postgres::PgConnectOptions;
    use sqlx::{MySql, Postgres};

    use super::*;

    fn read(url: &str) -> Result<(), String> {
        let read = match url.split(':').next() {
            Some("mysql") => MYSQL.read::<MySql>(url).map(drop),
            _ => POSTGRES.read::<Postgres>(url).map(drop),
        };
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn of_several_hosts_each_is_a_server_that_must_be_writable() {
        let url = "postgres://shop:a,b@one:5433,two,[::1]:7/shop?target_session_attrs=read-write&application_name=x";
        let servers = POSTGRES.read::<Postgres>(url).expect("is read");
        let seen: Vec<_> = servers
            .iter()
            .map(|server| (server.place.as_str(), server.options.get_host(), server.options.get_port()))
            .collect();
        assert_eq!(seen, [("one:5433", "one", 5433), ("two", "two", 5432), ("[::1]:7", "[::1]", 7)]);
        assert!(servers.iter().all(|server| server.is_read_only.is_some()));
        assert!(servers.iter().all(|server| server.options.get_application_name() == Some("x")));

        let writable = |url| POSTGRES.read::<Postgres>(url).expect("is read")[0].is_read_only.is_some();
        assert!(!writable("postgres://one/shop"), "nobody asked for it");
        assert!(writable("postgres://one/shop?target_session_attrs=primary"));
        assert_eq!(MYSQL.read::<MySql>("mysql://shop@one:3307,two/shop").expect("is read").len(), 2);
    }

    #[test]
    fn what_is_written_as_it_should_be_is_read() {
        for url in [
            "postgres://host",
            "postgres://shop:p%40ss%2Fw%3For%23d@host:5433/shop%40home?sslmode=require&application_name=shop",
            "postgres:///shop?host=/run/postgresql&user=me@home&options[statement_timeout]=5s",
            "postgresql://[::1]/shop?options=-c%20search_path%3Dtenant",
            "mysql://shop@host/shop?ssl-mode=REQUIRED&charset=utf8mb4",
        ] {
            assert_eq!(read(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_would_be_misread_is_refused_with_the_remedy_and_without_the_url() {
        for (url, remedy) in [
            ("postgres://shop:12/s3cr3t@host/shop", "`/` is `%2F`"),
            ("postgres://shop:12#s3cr3t@host/shop", "`#` is `%23`"),
            ("postgres://shop:12?s3cr3t@host/shop", "written `%3F`"),
            ("postgres:shop:s3cr3t@host/shop", "looks like `postgres://"),
            ("postgres:/shop:s3cr3t@host/shop", "looks like `postgres://"),
            ("postgres://shop:x@host/shop?pasword=s3cr3t", "application_name, options"),
            ("postgres://shop:x@host/shop?password=s3#cr3t", "`#` is `%23`"),
            ("postgres://shop:s3cr3t@one,,two/shop", "one is empty"),
            ("postgres://shop:s3cr3t@one,/shop", "one is empty"),
            ("postgres://shop:s3cr3t@one,two/shop?host=/run/postgresql", "leave that out"),
            ("postgres:///shop?host=one,two&password=s3cr3t", "`//host1:port,host2:port/`"),
            ("postgres://shop:s3cr3t@one,two:port/shop", "can't be read"),
            (
                "postgres://shop:s3cr3t@one,two/shop?target_session_attrs=any",
                "`target_session_attrs=read-write`",
            ),
            ("mysql://shop:s3cr3t@one,:3307/shop", "one is empty"),
            ("mysql://shop:12/s3cr3t@host/shop", "`/` is `%2F`"),
            ("mysql://shop:x@host/shop?ssl_mode=s3cr3t", "sslmode, ssl-mode"),
            ("mysql://shop:x@host/shop?sslmode=s3cr3t", "can't be read"),
        ] {
            let error = read(url).expect_err(url);
            assert!(error.contains(remedy) && !error.contains("s3"), "{url}: {error}");
        }
    }

    /// So that nothing is refused that sqlx takes, and nothing is let through that it logs.
    #[test]
    fn sqlx_knows_the_parameters() {
        for parameter in POSTGRES.parameters {
            let value = match *parameter {
                "sslmode" | "ssl-mode" => "disable",
                "port" | "statement-cache-capacity" => "7",
                "hostaddr" => "127.0.0.9",
                _ => "changed",
            };
            let with = |query: &str| format!("{:?}", query.parse::<PgConnectOptions>().expect("is read"));
            let url = format!("postgres://h/d?{parameter}={value}");
            assert_ne!(with(&url), with("postgres://h/d"), "{parameter}");
        }
    }
}
