//! The service as a process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A bound on a hang, and no measure of speed: far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What it would take from the environment of the tests.
const SETTINGS: [&str; 7] = [
    "LISTEN_ADDR",
    "DATABASE_URL",
    "ACCOUNTING_DATABASE_URL",
    "AMQP_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SERVICE_NAME",
    "RUST_LOG",
];

/// How much of its log a failure shows.
const LAST_LINES: usize = 40;

/// A running payment-service; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    pub(crate) url: String,
    log: PathBuf,
    _directory: TempDir,
}

impl Service {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new_in(services::data_directory()).expect("a directory");
        let log = directory.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_payment-service"));
        for variable in SETTINGS {
            command.env_remove(variable);
        }
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a file"))
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = loop {
            let line =
                tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("reads");
            let Some(line) = line else { panic!("the service ended: {}", read(&log)) };
            if let Some((_, rest)) = line.split_once(" listens on ") {
                break rest.split(". ").next().expect("a URL").to_owned();
            }
        };
        // Whoever reads on would be told nothing more, and a closed pipe would end the service.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, url, log, _directory: directory }
    }

    /// `SIGKILL`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("is killed");
    }

    /// `SIGTERM`; waits for the end. Whatever happened, its log shows no password.
    pub(crate) async fn stop(self) -> ExitStatus {
        self.stop_with_log().await.0
    }

    /// The same; and all that it has logged.
    pub(crate) async fn stop_with_log(mut self) -> (ExitStatus, String) {
        let id = self.child.id().expect("runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
        assert!(sent.success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("ends in time");
        let log = self.log();
        assert!(!log.contains(services::PASSWORD), "{log}");
        (ended.expect("ends"), log)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// Waits until no message is undecided or on its way, and none waits for an operator.
    pub(crate) async fn settled(&self) {
        wait_until("every message to be settled", async || {
            let Ok(messages) = self.get("messages").await else { return false };
            let count = |state: &str| messages[state].as_u64().expect("a count");
            assert_eq!((count("parked"), count("dead")), (0, 0), "{messages}");
            count("half") + count("confirmed") == 0
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> Result<serde_json::Value, reqwest::Error> {
        reqwest::get(format!("{}/{path}", self.url)).await?.error_for_status()?.json().await
    }
}

/// A test that fails says what the service last had to say.
impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            eprintln!("the service at {}, its last lines:\n{last}", self.url);
        }
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Waits until `condition` holds, and panics with `what` when it never does.
pub(crate) async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
