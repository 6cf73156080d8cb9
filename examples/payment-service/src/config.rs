//! What the service is told at start.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// Takes payments, and books a voucher for each.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Config {
    /// Where to listen.
    #[arg(long, env = "LISTEN_ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// The payments' database, which also stores the messages.
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://payment-service.db", hide_env_values = true)]
    pub(crate) database_url: String,

    /// Accounting's database. Default: the payments' database.
    #[arg(long, env = "ACCOUNTING_DATABASE_URL", hide_env_values = true)]
    accounting_database_url: Option<String>,

    /// The message broker. Default: none, delivery within the process.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    amqp_url: Option<String>,

    /// Which side to run. Default: both.
    #[arg(long)]
    side: Option<Side>,
}

/// One side of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Takes payments, sends messages.
    Payments,
    /// Receives messages, books vouchers.
    Accounting,
}

impl Config {
    /// Refuses what can't work.
    pub(crate) fn validated(self) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.amqp_url.is_none(),
            "this version delivers within the process only: unset AMQP_URL, and leave out --amqp-url"
        );
        anyhow::ensure!(
            self.side.is_none(),
            "one side alone needs a message broker between the two, and this version delivers within the process \
             only: leave out --side"
        );
        Ok(self)
    }

    pub(crate) fn accounting_database_url(&self) -> &str {
        self.accounting_database_url.as_deref().unwrap_or(&self.database_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> anyhow::Result<Config> {
        Config::try_parse_from(["payment-service"].iter().chain(arguments))?.validated()
    }

    #[test]
    fn accounting_shares_the_database_unless_told_otherwise() {
        let config = config(&["--database-url", "sqlite://one.db"]).expect("valid");
        assert_eq!(config.accounting_database_url(), "sqlite://one.db");
    }

    #[test]
    fn one_side_alone_and_a_broker_are_refused_with_the_remedy() {
        for (arguments, remedy) in [
            (["--side", "payments"], "leave out --side"),
            (["--amqp-url", "amqp://user:secret@host"], "unset AMQP_URL"),
        ] {
            let error = config(&arguments).expect_err("refused").to_string();
            assert!(error.contains(remedy) && !error.contains("secret"), "{error}");
        }
    }
}
