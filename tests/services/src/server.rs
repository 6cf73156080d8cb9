//! A server that can be killed, started again, and held.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::port;
use crate::process::{Process, wait};
use crate::server_dir::ServerDir;

/// How often other ports are tried when somebody else took one.
const ATTEMPTS: u32 = 5;
/// How much of a log an error shows.
const LINES: usize = 30;

/// A private server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    directory: PathBuf,
    state: Mutex<MessageState>,
}

/// How a server is started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) address: Ipv4Addr,
    /// The one for clients is the first.
    pub(crate) ports: Vec<u16>,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What it says when it's ready. Its own word: on its port somebody else may answer.
    pub(crate) ready: &'static str,
    /// What makes it end quickly, and leave nothing outside of its directory.
    pub(crate) end: Signal,
}

/// The order matters: a process ends before its directory goes.
#[derive(Debug)]
struct MessageState {
    process: Option<Process>,
    /// Until the server is stopped.
    home: Option<ServerDir>,
}

/// Starts a new server, with other ports if somebody takes one before the server does.
pub(crate) async fn start(prepare: impl AsyncFn() -> anyhow::Result<Server>) -> anyhow::Result<Server> {
    let mut attempt = 1;
    loop {
        let server = prepare().await?;
        match server.start_again().await {
            Ok(()) => return Ok(server),
            Err(_) if attempt < ATTEMPTS && !server.ports_are_free() => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Server {
    pub(crate) fn new(home: ServerDir, launch: Launch) -> Self {
        let directory = home.path().to_owned();
        Self { launch, directory, state: Mutex::new(MessageState { process: None, home: Some(home) }) }
    }

    /// Where it is, with user and password.
    pub fn url(&self) -> &str {
        &self.launch.url
    }

    /// The address for clients.
    pub fn host(&self) -> String {
        self.launch.address.to_string()
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.launch.ports[0]
    }

    pub(crate) fn ports(&self) -> &[u16] {
        &self.launch.ports
    }

    fn ports_are_free(&self) -> bool {
        self.ports().iter().all(|port| port::is_free(self.launch.address, *port))
    }

    /// What was put into its environment.
    pub(crate) fn environment(&self, variable: &str) -> &str {
        let found = self.launch.environment.iter().find(|(name, _)| *name == variable);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether it was started, and not killed since.
    pub fn runs(&self) -> bool {
        !self.has_ended()
    }

    /// Where its data is, and what it has logged since its last start, in `log`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts it after [`kill`](Self::kill), on the same port with the same data, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// When it runs, was stopped, or doesn't start.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        self.spawn()?;
        let ready = wait("it to be ready", async || {
            anyhow::ensure!(!self.has_ended(), "it ended before it was ready");
            let log = fs::read(self.log())?;
            let said = String::from_utf8_lossy(&log).contains(self.launch.ready);
            Ok(said && TcpStream::connect((self.launch.address, self.port())).await.is_ok())
        });
        let Err(error) = ready.await else { return Ok(()) };
        let log = String::from_utf8_lossy(&fs::read(self.log())?).into_owned();
        self.kill()?;
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        Err(error.context(format!("{} did not start. The end of its log:\n{last}", self.launch.name)))
    }

    /// Kills it and all its processes with `SIGKILL`. Its data stays as it is.
    ///
    /// # Errors
    /// When the system doesn't let it.
    pub fn kill(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        if let Some(mut process) = state.process.take() {
            process.kill().with_context(|| format!("killing {}", self.launch.name))?;
        }
        state.home.as_ref().map_or(Ok(()), |home| home.watch(None))
    }

    /// Makes it stand still, with all its processes: it neither answers nor hangs up.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.with_process(Process::pause)
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.with_process(|process| drop(process.resume()))
    }

    /// Stops it and removes its directory, for good. Dropping it does the same, and hides errors.
    ///
    /// # Errors
    /// When the system doesn't let it.
    pub fn stop(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        if let Some(mut process) = state.process.take() {
            process.end(self.launch.end).with_context(|| format!("stopping {}", self.launch.name))?;
        }
        drop(state.home.take());
        anyhow::ensure!(!self.directory.exists(), "{} can't be removed", self.directory.display());
        Ok(())
    }

    /// A command that runs where the server does, with its environment.
    pub(crate) fn command(&self, program: &Path) -> anyhow::Result<Command> {
        self.command_in(self.state().home.as_ref(), program)
    }

    fn command_in(&self, home: Option<&ServerDir>, program: &Path) -> anyhow::Result<Command> {
        let home = home.with_context(|| format!("{} was stopped; its data is gone", self.launch.name))?;
        let mut command = home.command(program)?;
        command.envs(self.launch.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn spawn(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        anyhow::ensure!(state.process.is_none(), "{} runs already; kill it first", self.launch.name);
        let mut command = self.command_in(state.home.as_ref(), &self.launch.program)?;
        let log = File::create(self.log()).with_context(|| format!("making {}", self.log().display()))?;
        command.args(&self.launch.arguments).stdout(log.try_clone()?).stderr(log);
        let process = state.process.insert(Process::spawn(&mut command)?);
        let pid = process.pid();
        state.home.as_ref().map_or(Ok(()), |home| home.watch(Some(pid)))
    }

    fn has_ended(&self) -> bool {
        self.state().process.as_ref().is_none_or(|process| process.has_ended().unwrap_or(true))
    }

    fn with_process(&self, act: impl FnOnce(&Process)) -> anyhow::Result<()> {
        let state = self.state();
        let process = state.process.as_ref();
        act(process.with_context(|| format!("{} does not run; start it first", self.launch.name))?);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn state(&self) -> MutexGuard<'_, MessageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
