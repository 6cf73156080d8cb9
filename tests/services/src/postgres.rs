//! PostgreSQL: the newest version that is installed; alone, or with a standby.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::process::run;
use crate::server::{self, Launch, Server};
use crate::server_dir::ServerDir;
use crate::{PASSWORD, USER, port, program};

/// Where Debian has the versions.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Starts a PostgreSQL server.
///
/// # Errors
/// When it is not installed, or doesn't start.
pub async fn start() -> anyhow::Result<Server> {
    start_with(&[]).await
}

/// The same with more settings, such as `synchronous_standby_names=standby`: then it finishes no commit that its standby
/// hasn't got.
///
/// # Errors
/// When it is not installed, or doesn't start.
pub async fn start_with(settings: &[&str]) -> anyhow::Result<Server> {
    server::start(async || prepare(settings).await).await
}

/// Starts a standby of the server at this URL, which may be promoted with `pg_promote()`.
///
/// # Errors
/// When PostgreSQL is not installed, or it doesn't start, or there is no primary.
pub async fn start_standby(primary_url: &str) -> anyhow::Result<Server> {
    server::start(async || prepare_standby(primary_url).await).await
}

/// The name by which the primary knows the standby.
const STANDBY: &str = "standby";

async fn prepare(settings: &[&str]) -> anyhow::Result<Server> {
    let home = ServerDir::new(program::instead_of_root("postgres")?)?;
    let password = home.write("password", PASSWORD)?;
    let mut command = home.command(&find("initdb")?)?;
    command.arg("--pgdata").arg(data(&home)).arg("--pwfile").arg(password);
    command.args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
    // Only here: there's nothing yet that could be lost.
    run(command.arg("--no-sync")).await?;
    launch(home, settings)
}

async fn prepare_standby(primary_url: &str) -> anyhow::Result<Server> {
    let home = ServerDir::new(program::instead_of_root("postgres")?)?;
    let mut command = home.command(&find("pg_basebackup")?)?;
    command.arg("--pgdata").arg(data(&home)).args([
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--no-sync",
    ]);
    command.arg(format!("--dbname={primary_url}?application_name={STANDBY}"));
    run(&mut command).await?;
    // It is ready before it has caught up: as a standby is.
    launch(home, &[])
}

fn find(program: &str) -> anyhow::Result<PathBuf> {
    let mut folders = program::versions(Path::new(VERSIONS));
    folders.extend(program::path());
    program::find(program, &folders)
}

fn data(home: &ServerDir) -> PathBuf {
    home.path().join("data")
}

fn launch(home: ServerDir, settings: &[&str]) -> anyhow::Result<Server> {
    let [port] = port::free()?;
    let mut all = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".into(),
        "unix_socket_directories=".into(),
        "max_connections=300".into(),
        "shared_buffers=128MB".into(),
        // In its directory, and not in /dev/shm, where a killed server would leave it.
        "dynamic_shared_memory_type=mmap".into(),
    ];
    all.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let mut arguments = vec!["-D".into(), data(&home).display().to_string()];
    arguments.extend(all.into_iter().flat_map(|setting| ["-c".into(), setting]));
    let launch = Launch {
        name: "PostgreSQL",
        url: format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"),
        address: Ipv4Addr::LOCALHOST,
        ports: vec![port],
        program: find("postgres")?,
        arguments,
        environment: Vec::new(),
        ready: "ready to accept",
        // "Immediate shutdown": frees the shared memory, and saves nothing.
        end: Signal::QUIT,
    };
    Ok(Server::new(home, launch))
}
