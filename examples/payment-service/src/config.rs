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

    /// The payments' database, which also stores the messages: sqlite://… or postgres://…
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://payment-service.db", hide_env_values = true)]
    pub(crate) database_url: String,

    /// Accounting's database. Default: the payments' database.
    #[arg(long, env = "ACCOUNTING_DATABASE_URL", hide_env_values = true)]
    accounting_database_url: Option<String>,

    /// RabbitMQ: amqp://… or amqps://… Default: none, delivery within accounting's process.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub(crate) amqp_url: Option<String>,

    /// What goes into the log, and into traces: as in `info,transactional_message=debug`, which has each delivery.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Where traces go, by OTLP over HTTP: a URL such as `http://localhost:4318`. Default: nowhere.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,

    /// This process's name in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "payment-service")]
    pub(crate) service_name: String,

    /// Which side to run. Default: both. Without RabbitMQ, the sides share the payments' database,
    /// where the messages are.
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
    pub(crate) fn runs(&self, side: Side) -> bool {
        self.side.is_none_or(|only| only == side)
    }

    pub(crate) fn accounting_database_url(&self) -> &str {
        self.accounting_database_url.as_deref().unwrap_or(&self.database_url)
    }

    /// Whether this process has messages to store or to deliver: not accounting alone, which gets
    /// them from RabbitMQ.
    pub(crate) fn sends(&self) -> bool {
        self.runs(Side::Payments) || self.amqp_url.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Config {
        Config::try_parse_from(["payment-service"].iter().chain(arguments)).expect("valid")
    }

    #[test]
    fn accounting_shares_the_database_unless_told_otherwise() {
        let config = config(&["--database-url", "sqlite://one.db"]);
        assert_eq!(config.accounting_database_url(), "sqlite://one.db");
    }

    #[test]
    fn both_sides_run_unless_one_is_named() {
        let sides = |arguments: &[&str]| {
            let config = config(arguments);
            (config.runs(Side::Payments), config.runs(Side::Accounting))
        };
        assert_eq!(sides(&[]), (true, true));
        assert_eq!(sides(&["--side", "payments"]), (true, false));
        assert_eq!(sides(&["--side", "accounting"]), (false, true));
    }

    #[test]
    fn accounting_alone_needs_the_payments_database_only_without_a_broker() {
        let accounting = ["--side", "accounting", "--amqp-url", "amqp://localhost"];
        assert!(!config(&accounting).sends());
        assert!(config(&accounting[..2]).sends());
        assert!(config(&accounting[2..]).sends());
    }
}
