//! A process and all its descendants: starting, stopping, holding, and waiting for them.
//!
//! Not tokio's processes: those hang on the runtime that started them, and a server may outlive it.

use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// How long anything here may take: a bound on a hang, no measure.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a process may take to end.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// A running process, the leader of a group of its own. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child, ended: None })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it has ended. It isn't reaped: until it's killed its number stays its own.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(self.ended.is_some() || waitid(WaitId::Pid(self.pid()), look)?.is_some())
    }

    /// Kills it and all its descendants, if they still run, and says how it ended.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let tree = hold(self.pid());
        for pid in &tree {
            send(*pid, Signal::KILL);
        }
        // What a process has left behind that had ended by itself.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let status = self.child.wait()?;
        self.ended = Some(status);
        // A server doesn't start where another one still ends.
        wait_for(&tree);
        Ok(status)
    }

    /// Asks it to end with this signal, waits for its descendants, too, and kills what goes on.
    pub(crate) fn end(&mut self, signal: Signal) -> io::Result<ExitStatus> {
        if self.ended.is_none() && signal != Signal::KILL {
            let tree = self.resume();
            send(self.pid(), signal);
            wait_for(&tree);
        }
        self.kill()
    }

    /// Makes it and all its descendants stand still.
    pub(crate) fn pause(&self) {
        hold(self.pid());
    }

    /// Lets them go on, and lists them.
    pub(crate) fn resume(&self) -> Vec<Pid> {
        let tree = hold(self.pid());
        for pid in &tree {
            send(*pid, Signal::CONT);
        }
        tree
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not with `KILL`: `initdb` would leave shared memory behind.
        let _ = self.end(Signal::TERM);
    }
}

/// Runs a command to its end, and returns what it wrote to its standard output.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut process = Process::spawn(command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?))?;
    wait(&format!("{name} to end"), async || Ok(process.has_ended()?)).await?;
    let status = process.kill()?;
    let (mut output, mut errors) = (String::new(), String::new());
    stdout.rewind()?;
    stdout.read_to_string(&mut output)?;
    stderr.rewind()?;
    stderr.read_to_string(&mut errors)?;
    anyhow::ensure!(status.success(), "{name} failed, {status}:\n{output}{errors}");
    Ok(output)
}

/// Waits until a condition holds.
pub(crate) async fn wait(
    what: &str,
    mut condition: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !condition().await? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Makes a process and all its descendants stand still, and lists them. A list that was made before
/// they stood still would miss what they start meanwhile, so it's made until nothing is added.
///
/// A group wouldn't do: each child of PostgreSQL makes one of its own.
fn hold(root: Pid) -> Vec<Pid> {
    let mut tree = vec![root];
    let mut held = 0;
    while held < tree.len() {
        for pid in &tree[held..] {
            send(*pid, Signal::STOP);
        }
        held = tree.len();
        tree.extend(children(&tree));
    }
    tree
}

/// The children of these processes that aren't among them.
fn children(tree: &[Pid]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw)
        .filter(|pid| !tree.contains(pid) && status(*pid).is_some_and(|(_, parent)| tree.contains(&parent)))
        .collect()
}

/// Waits until none of these processes runs any more, but not for ever.
fn wait_for(tree: &[Pid]) {
    let began = Instant::now();
    while tree.iter().any(|pid| is_running(*pid)) && began.elapsed() < GRACE {
        thread::sleep(POLL);
    }
}

fn is_running(pid: Pid) -> bool {
    status(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// A process's state, one letter, and its parent: `proc_pid_stat(5)`.
fn status(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have brackets and spaces of its own.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, Pid::from_raw(fields.next()?.parse().ok()?)?))
}

/// To a process that may have ended meanwhile.
fn send(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}
