//! PostgreSQL: the newest version that is installed.

use std::net::Ipv4Addr;
use std::path::Path;

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
    server::start(prepare).await
}

async fn prepare() -> anyhow::Result<Server> {
    let mut folders = program::versions(Path::new(VERSIONS));
    folders.extend(program::path());
    let postgres = program::find("postgres", &folders)?;
    let initdb = program::find("initdb", &folders)?;

    let home = ServerDir::new(program::instead_of_root("postgres")?)?;
    let data = home.path().join("data");
    let password = home.write("password", PASSWORD)?;
    let mut command = home.command(&initdb)?;
    command.arg("--pgdata").arg(&data).arg("--pwfile").arg(password);
    command.args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
    // Only here: there's nothing yet that could be lost.
    run(command.arg("--no-sync")).await?;

    let [port] = port::free()?;
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".into(),
        "unix_socket_directories=".into(),
        "max_connections=300".into(),
        "shared_buffers=128MB".into(),
        // In its directory, and not in /dev/shm, where a killed server would leave it.
        "dynamic_shared_memory_type=mmap".into(),
    ];
    let mut arguments = vec!["-D".into(), data.display().to_string()];
    arguments.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting]));
    let launch = Launch {
        name: "PostgreSQL",
        url: format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"),
        address: Ipv4Addr::LOCALHOST,
        ports: vec![port],
        program: postgres,
        arguments,
        environment: Vec::new(),
        ready: "database system is ready to accept connections",
        // "Immediate shutdown": frees the shared memory, and saves nothing.
        end: Signal::QUIT,
    };
    Ok(Server::new(home, launch))
}
