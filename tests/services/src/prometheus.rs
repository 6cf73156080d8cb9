//! Prometheus, and `promtool`, which checks what Prometheus is given.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::server::{self, Launch, Server};
use crate::server_dir::ServerDir;
use crate::{port, program};

/// Starts a Prometheus that scrapes these addresses every second, as the job `job`, and evaluates these rules as often.
///
/// # Errors
/// When it is not installed, or doesn't start: also when the rules are wrong.
pub async fn start(job: &str, targets: &[String], rules: &str) -> anyhow::Result<Server> {
    let settings = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [rules.yml]\nscrape_configs:\n  \
         - job_name: {job}\n    static_configs:\n      - targets: {targets:?}\n"
    );
    server::start(async || prepare(&settings, rules)).await
}

/// Where `promtool` is.
///
/// # Errors
/// When it is not installed.
pub fn promtool() -> anyhow::Result<PathBuf> {
    program::find("promtool", &program::path())
}

fn prepare(settings: &str, rules: &str) -> anyhow::Result<Server> {
    let program = program::find("prometheus", &program::path())?;
    let home = ServerDir::new(None)?;
    let [port] = port::free()?;
    let settings = home.write("prometheus.yml", settings)?;
    home.write("rules.yml", rules)?;
    let data = home.path().join("data");
    let launch = Launch {
        name: "Prometheus",
        url: format!("http://127.0.0.1:{port}"),
        address: Ipv4Addr::LOCALHOST,
        ports: vec![port],
        program,
        arguments: vec![
            format!("--config.file={}", settings.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
        environment: Vec::new(),
        ready: "Server is ready to receive web requests",
        end: Signal::KILL,
    };
    Ok(Server::new(home, launch))
}
