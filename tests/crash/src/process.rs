//! A life of the service, as a process.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::caller_log;
use crate::place::Place;

/// How long the service may take to come to a point, or to settle: a bound on a hang, no measure.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(10);

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Service(Child);

impl Service {
    /// Starts it, with arguments as `child::Life` has them.
    pub(crate) fn start<I, S>(place: &Place, arguments: I) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        Self::start_as("live", place, arguments)
    }

    /// Starts that of another program: one of an earlier version.
    pub(crate) fn start_old<I, S>(program: &Path, place: &Place, arguments: I) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        Self::start_program(program, "live", place, arguments)
    }

    /// Starts another one, which the command of that name runs.
    pub(crate) fn start_as<I, S>(name: &str, place: &Place, arguments: I) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        Self::start_program(&std::env::current_exe()?, name, place, arguments)
    }

    fn start_program<I, S>(program: &Path, name: &str, place: &Place, arguments: I) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = Command::new(program);
        command.arg(name).arg(&place.directory).args(arguments);
        command.stderr(caller_log::log(&place.directory)?).kill_on_drop(true);
        Ok(Self(command.spawn()?))
    }

    /// Waits until it ends.
    pub(crate) async fn end(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(patience, self.0.wait()).await;
        Ok(ended.with_context(|| format!("the service still runs after {patience:?}"))??)
    }

    /// Waits until it has died of a `SIGKILL`.
    pub(crate) async fn die(&mut self) -> anyhow::Result<()> {
        let ended = self.end(PATIENCE * 3).await?;
        anyhow::ensure!(
            ended.signal() == Some(Signal::KILL.as_raw()),
            "it was to be killed, and ended with {ended}"
        );
        Ok(())
    }

    /// Whether it runs still.
    pub(crate) fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }

    /// Waits until it stands still.
    pub(crate) async fn freeze(&mut self) -> anyhow::Result<()> {
        let stat = format!("/proc/{}/stat", self.pid()?.as_raw_nonzero());
        let frozen = async {
            loop {
                if let Some(ended) = self.0.try_wait()? {
                    anyhow::bail!("it was to be frozen, and ended with {ended}");
                }
                let stat = std::fs::read_to_string(&stat).unwrap_or_default();
                if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, frozen).await.context("it was to be frozen, and still runs")?
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, Signal::CONT)?)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }

    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        let pid = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        pid.context("the service has ended")
    }
}
