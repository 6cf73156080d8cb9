//! One server of each kind, for all tests of a run, and the environment variables that say where.
//!
//! A variable that is set already names a server to be used; then none of that kind is started.

use std::time::Instant;

use crate::{Server, mariadb, postgres, rabbitmq};

/// The URL of a PostgreSQL server.
pub const POSTGRES_URL: &str = "TM_TEST_POSTGRES_URL";
/// The same, where `sqlx::test` looks for it.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// The URL of a MariaDB or MySQL server.
pub const MYSQL_URL: &str = "TM_TEST_MYSQL_URL";
/// The URL of a RabbitMQ server.
pub const AMQP_URL: &str = "TM_TEST_AMQP_URL";
/// The URL of a RabbitMQ server with TLS. Goes with [`AMQP_URL`]: set neither or both.
pub const AMQPS_URL: &str = "TM_TEST_AMQPS_URL";
/// The path of the certificate, in PEM, of the authority to trust for [`AMQPS_URL`].
pub const AMQPS_CA: &str = "TM_TEST_AMQPS_CA";

/// The servers of a run. Dropping them stops those that were started.
#[derive(Debug)]
pub struct Shared {
    postgres: Option<Server>,
    mariadb: Option<Server>,
    rabbitmq: Option<rabbitmq::Server>,
}

impl Shared {
    /// Starts, at once, what the environment doesn't name.
    ///
    /// # Errors
    /// When a server doesn't start. Then the others are stopped again.
    pub async fn start() -> anyhow::Result<Self> {
        let (postgres, mariadb, rabbitmq) = tokio::try_join!(
            unless_given(POSTGRES_URL, postgres::start()),
            unless_given(MYSQL_URL, mariadb::start()),
            unless_given(AMQP_URL, rabbitmq::start()),
        )?;
        Ok(Self { postgres, mariadb, rabbitmq })
    }

    /// What is to be added to a command's environment.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = Vec::new();
        if let Some(server) = &self.postgres {
            environment.extend([POSTGRES_URL, DATABASE_URL].map(|variable| (variable, server.url().into())));
        }
        environment.extend(self.mariadb.as_ref().map(|server| (MYSQL_URL, server.url().into())));
        if let Some(server) = &self.rabbitmq {
            environment.push((AMQP_URL, server.url().into()));
            environment.push((AMQPS_URL, server.amqps_url()));
            environment.push((AMQPS_CA, server.authority().display().to_string()));
        }
        environment
    }
}

async fn unless_given<T>(
    variable: &str,
    start: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    if std::env::var_os(variable).is_some() {
        eprintln!("services: {variable} is set, and its server is used");
        return Ok(None);
    }
    let began = Instant::now();
    let server = start.await?;
    eprintln!("services: the server for {variable} was ready after {:.1?}", began.elapsed());
    Ok(Some(server))
}
