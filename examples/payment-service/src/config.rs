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

    /// The message broker. Default: none, delivery within accounting's process.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    amqp_url: Option<String>,

    /// Which side to run. Default: both. The sides share the payments' database, which stores the messages.
    #[arg(long)]
    side: Option<Side>,
}

/// One side of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
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
            "this version has no message broker: unset AMQP_URL, and leave out --amqp-url"
        );
        Ok(self)
    }

    pub(crate) fn runs(&self, side: Side) -> bool {
        self.side.is_none_or(|only| only == side)
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
    fn both_sides_run_unless_one_is_named() {
        let sides = |arguments: &[&str]| {
            let config = config(arguments).expect("valid");
            (config.runs(Side::Payments), config.runs(Side::Accounting))
        };
        assert_eq!(sides(&[]), (true, true));
        assert_eq!(sides(&["--side", "payments"]), (true, false));
        assert_eq!(sides(&["--side", "accounting"]), (false, true));
    }

    #[test]
    fn a_broker_is_refused_with_the_remedy_and_without_the_password() {
        let error = config(&["--amqp-url", "amqp://user:secret@host"]).expect_err("refused").to_string();
        assert!(error.contains("unset AMQP_URL") && !error.contains("secret"), "{error}");
    }
}
