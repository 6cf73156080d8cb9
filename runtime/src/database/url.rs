//! URLs of servers, looked at before sqlx reads them.
//!
//! A special character in a password that is not percent-encoded ends the part of the URL that it
//! stands in, and the rest of the password becomes a database's name or a parameter's. Such a name is
//! repeated by servers, and a parameter that it does not know is logged by sqlx, with its value.

use std::str::FromStr;

use super::refusal::configuration;
use crate::error::Error;

/// A kind of server, as its URLs are written.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
    /// What sqlx knows.
    pub(super) parameters: &'static [&'static str],
}

#[cfg(feature = "postgres")]
pub(super) const POSTGRES: Server = Server {
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
};

#[cfg(feature = "mysql")]
pub(super) const MYSQL: Server = Server {
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
};

impl Server {
    /// Reads a URL. The URL itself stays out of every message.
    pub(super) fn read<T: FromStr>(&self, url: &str) -> Result<Box<T>, Error> {
        let Self { name, example, parameters } = self;
        let plain = |(path, query): &(&str, &str)| !path.contains(['@', '#']) && !query.contains('#');
        let Some((_, query)) = after_authority(url).filter(plain) else {
            return Err(configuration(format!(
                "the {name} URL can't be read; it looks like `{example}`, with special characters in user, password and \
                 database percent-encoded (`/` is `%2F`, `@` is `%40`, `?` is `%3F`, `#` is `%23`)"
            )));
        };
        let mut names = query.split('&').filter(|one| !one.is_empty()).map(key);
        if !names.all(|name| parameters.contains(&name)) {
            return Err(configuration(format!(
                "the {name} URL has a parameter that is not known: after the `?` there may be {}; a `?` in the password \
                 is written `%3F`",
                parameters.join(", ")
            )));
        }
        url.parse()
            .map(Box::new)
            .map_err(|_| configuration(format!("the {name} URL can't be read; it looks like `{example}`")))
    }
}

/// Path and query. Without `//` everything would be a database's name.
fn after_authority(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    Some(rest.split_once('?').unwrap_or((rest, "")))
}

/// The name of a parameter; `options[name]` is one of PostgreSQL's `options`.
fn key(parameter: &str) -> &str {
    let name = parameter.split('=').next().unwrap_or_default();
    if name.starts_with("options[") { "options" } else { name }
}

#[cfg(all(test, feature = "postgres", feature = "mysql"))]
mod tests {
    use sqlx::mysql::MySqlConnectOptions;
    use sqlx::postgres::PgConnectOptions;

    use super::*;

    fn read(url: &str) -> Result<(), String> {
        let read = match url.split(':').next() {
            Some("mysql") => MYSQL.read::<MySqlConnectOptions>(url).map(drop),
            _ => POSTGRES.read::<PgConnectOptions>(url).map(drop),
        };
        read.map_err(|error| error.to_string())
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
