//! Starts servers, tells a command where they are, and stops them when it has ended.
//!
//! `services run -- cargo test`; the environment variables are in `shared`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use rustix::process::{Pid, kill_process};
use services::shared::Shared;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a command may go on when it was told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Private PostgreSQL, MariaDB and RabbitMQ servers for a command.
#[derive(Debug, Parser)]
enum Arguments {
    /// Starts the servers, runs a command that finds them in its environment, and stops them.
    /// Exits with the status of the command.
    Run {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments::Run { command } = Arguments::parse();
    let mut signals = Signals::new()?;
    let shared = tokio::select! {
        shared = Shared::start() => shared?,
        signal = signals.next() => return Ok(code(ExitStatus::from_raw(signal.as_raw()))),
    };
    let [program, arguments @ ..] = &command[..] else { anyhow::bail!("a command is missing") };
    let mut command = Command::new(program);
    command.args(arguments).envs(shared.environment()).kill_on_drop(true);
    // What `cargo run` tells us about ourselves. A `cargo` that heard of it would build anew, here and when
    // it is run without, all that looks at the names and folders of packages.
    let of_cargo = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| of_cargo(name)) {
        command.env_remove(name);
    }
    let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
    tokio::select! {
        status = child.wait() => Ok(code(status?)),
        signal = signals.next() => {
            end(&mut child, signal).await?;
            Ok(code(ExitStatus::from_raw(signal.as_raw())))
        }
    }
}

/// Passes a signal on to the command, and kills the command when it goes on.
async fn end(child: &mut Child, signal: rustix::process::Signal) -> anyhow::Result<()> {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // At a terminal, Control-C has reached the command before.
        let _ = kill_process(pid, signal);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await.context("killing the command")?;
    }
    Ok(())
}

/// As a shell gives it: 128 and the signal for a command that was killed.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// What asks this process to end.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> rustix::process::Signal {
        tokio::select! {
            _ = self.hangup.recv() => rustix::process::Signal::HUP,
            _ = self.interrupt.recv() => rustix::process::Signal::INT,
            _ = self.terminate.recv() => rustix::process::Signal::TERM,
        }
    }
}
