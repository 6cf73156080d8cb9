//! `services run`: the command's status, and nothing left behind, whatever happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use services::shared::{AMQP_URL, AMQPS_CA, AMQPS_URL, MYSQL_URL, POSTGRES_URL};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{LIMIT, wait_until};

/// Where the servers of one run have their directories.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // PostgreSQL runs as another user when this is root.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its owner");
        Self(directory)
    }

    fn run(&self, script: &str) -> Command {
        self.services(&["sh", "-c", script])
    }

    /// `services run -- {command}`, with none of the variables set.
    fn services(&self, run: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_services"));
        for variable in [POSTGRES_URL, MYSQL_URL, AMQP_URL, AMQPS_URL, AMQPS_CA] {
            command.env_remove(variable);
        }
        command.env("TM_TEST_DIRECTORY", self.0.path()).args(["run", "--"]).args(run);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The directories of servers.
    fn directories(&self) -> Vec<PathBuf> {
        fs::read_dir(self.0.path()).expect("reads").map(|entry| entry.expect("reads").path()).collect()
    }

    /// All processes that run in one of them.
    fn processes(&self) -> Vec<PathBuf> {
        let processes = fs::read_dir("/proc").expect("reads").flatten();
        let folders = processes.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok());
        folders.filter(|folder| folder.starts_with(self.0.path())).collect()
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!((self.directories(), self.processes()), (vec![], vec![]));
    }
}

async fn has(file: &Path) {
    wait_until("the command to run", async || file.exists()).await;
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
    kill_process(pid, signal).expect("sent");
}

#[tokio::test]
async fn the_status_is_that_of_the_command() {
    let place = Place::new();
    let names = [POSTGRES_URL, MYSQL_URL, AMQP_URL, AMQPS_URL, AMQPS_CA].map(|name| format!("${name}"));
    let script = format!("printf '%s\\n' {}; exit 7", names.join(" "));
    let output = place.run(&script).output().await.unwrap();
    place.nothing_is_left();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let output = String::from_utf8(output.stdout).unwrap();
    let beginnings: Vec<_> = output.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(beginnings[..4], ["postgres", "mysql", "amqp", "amqps"]);
    assert!(beginnings[4].starts_with('/'), "{output}");
}

#[tokio::test]
async fn the_servers_do_not_survive_a_supervisor_that_is_killed() {
    let place = Place::new();
    let signs = tempfile::tempdir().unwrap();
    let runs = signs.path().join("runs");
    // Ends by itself when the test is over: its standard input is the test's.
    let mut child =
        place.run(&format!("touch {}; cat", runs.display())).stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    has(&runs).await;
    assert_eq!(place.directories().len(), 3);
    assert!(place.processes().len() >= 3);

    send(&child, Signal::KILL);
    assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    wait_until("the watchers", async || place.directories().is_empty() && place.processes().is_empty()).await;
    drop(input);
}

#[tokio::test]
async fn who_is_told_to_end_ends() {
    let place = Place::new();
    let signs = tempfile::tempdir().unwrap();
    let (runs, told) = (signs.path().join("runs"), signs.path().join("told"));
    // In the background, a shell gives a command another standard input.
    let script = format!(
        "exec 3<&0; trap 'touch {}; exit' TERM; touch {}; cat <&3 & wait",
        told.display(),
        runs.display()
    );
    // A server that is named isn't started.
    let mut command = place.run(&script);
    let mut child =
        command.env(MYSQL_URL, "given").env(AMQP_URL, "given").stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take();
    has(&runs).await;
    assert_eq!(place.directories().len(), 1);

    send(&child, Signal::TERM);
    let ended = tokio::time::timeout(LIMIT, child.wait()).await.unwrap();
    assert_eq!(ended.unwrap().code(), Some(128 + 15));
    assert!(told.exists(), "the signal was not passed on");
    place.nothing_is_left();
    drop(input);
}

#[tokio::test]
async fn who_is_told_to_end_while_it_starts_ends() {
    let place = Place::new();
    let mut child = place.run("exit").spawn().unwrap();
    wait_until("the servers to be starting", async || place.directories().len() == 3).await;
    send(&child, Signal::INT);
    assert_eq!(child.wait().await.unwrap().code(), Some(128 + 2));
    place.nothing_is_left();
}

#[tokio::test]
async fn a_server_that_does_not_start_stops_the_others() {
    let place = Place::new();
    // Too long for a socket, of which only MariaDB makes one.
    let deep = place.0.path().join("x".repeat(100));
    fs::create_dir(&deep).unwrap();
    let output = place.run("exit").env("TM_TEST_DIRECTORY", &deep).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("MariaDB did not start. The end of its log:") && error.contains("too long"),
        "{error}"
    );
    assert_eq!(place.processes(), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_an_error_that_names_it() {
    let place = Place::new();
    // Servers that are named aren't started.
    let mut command = place.services(&["no-such-command"]);
    command.envs([POSTGRES_URL, MYSQL_URL, AMQP_URL].map(|variable| (variable, "given")));
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("starting no-such-command"), "{error}");
}
