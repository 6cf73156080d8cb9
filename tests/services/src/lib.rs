//! Private servers for tests: PostgreSQL, `PgBouncer`, MariaDB, RabbitMQ and Prometheus, each in a directory
//! and on ports of its own.
//!
//! `cargo run -p services -- run -- cargo test` starts one server of each kind, tells the command
//! where they are (see [`shared`]), and stops them when the command has ended. A test that wants to
//! harm a server starts one for itself, and harms that:
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! let victim = services::postgres::start().await?;
//! victim.kill()?; // SIGKILL, to it and its children
//! victim.start_again().await?; // same port, same data
//! victim.pause()?; // accepts connections, and says nothing
//! victim.resume()?;
//! # Ok(())
//! # }
//! ```
//!
//! Durability is what it should be in production, so that a test of a crash tests something. The data
//! is in memory where there is room, so that it's quick all the same; `TM_TEST_DIRECTORY` names another
//! directory, and [`keep_on_disk`] says that memory won't do.
//!
//! Nothing is left behind: dropping a [`Server`] stops it and removes its directory, and when the
//! process that started it dies, whichever way, a watcher does (see `server_dir`).

mod certificate;
pub mod mariadb;
pub mod pgbouncer;
mod port;
pub mod postgres;
mod process;
mod program;
pub mod prometheus;
pub mod proxy;
pub mod rabbitmq;
mod server;
mod server_dir;
pub mod shared;

pub use server::Server;
pub use server_dir::{data_directory, keep_on_disk};

/// The user of every server.
pub const USER: &str = "tm";
/// The user's password: a word to look for where no password may be.
pub const PASSWORD: &str = "test-secret";
