//! MariaDB, which the tests of MySQL use: Debian's stable releases have no MySQL. Or MySQL itself, where there is no
//! MariaDB.

mod galera;

use rustix::process::Signal;
use std::net::Ipv4Addr;

pub use self::galera::start_galera;
use crate::process::run;
use crate::program::User;
use crate::server::{self, Launch, Server};
use crate::server_dir::ServerDir;
use crate::{PASSWORD, USER, port, program};

/// MySQL would make some for itself.
const NO_CERTIFICATES: &str = "--auto-generate-certs=OFF";
/// An option: without it there is one.
const NO_BINARY_LOG: &str = "--skip-log-bin";

/// Starts a MariaDB server.
///
/// # Errors
/// When it is not installed, or doesn't start.
pub async fn start() -> anyhow::Result<Server> {
    start_with(&[]).await
}

/// The same with more options, such as `--innodb-rollback-on-timeout=ON`.
///
/// # Errors
/// When it is not installed, or doesn't start.
pub async fn start_with(options: &[&str]) -> anyhow::Result<Server> {
    server::start(async || prepare(options, None).await).await
}

async fn prepare(options: &[&str], user: Option<User>) -> anyhow::Result<Server> {
    let folders = program::path();
    // MariaDB has a `mysqld`, too.
    let mariadb = program::find("mariadbd", &folders);
    let is_mysql = mariadb.is_err() && program::find("mysqld", &folders).is_ok();
    let server = if is_mysql { program::find("mysqld", &folders) } else { mariadb }?;

    let home = ServerDir::new(user)?;
    // It refuses to run as root, but when told to.
    let is_root = user.is_none() && rustix::process::geteuid().is_root();
    let root: &[&str] = if is_root { &["--user=root"] } else { &[] };
    let data = format!("--datadir={}/data", home.path().display());
    // When it starts, it deletes temporary tables there: also those of others, which then crash.
    let temporary = format!("--tmpdir={}", home.path().display());
    let mut install;
    if is_mysql {
        install = home.command(&server)?;
        install.args(["--no-defaults", "--initialize-insecure", NO_CERTIFICATES]);
    } else {
        install = home.command(&program::find("mariadb-install-db", &folders)?)?;
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
    }
    run(install.args([&data, &temporary]).args(root)).await?;

    let [port] = port::free()?;
    // Every start runs it, so it must change nothing the second time.
    let users = home.write(
        "users.sql",
        &format!(
            "CREATE DATABASE IF NOT EXISTS {USER};\n\
             CREATE USER IF NOT EXISTS {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION;\n"
        ),
    )?;
    let mut arguments: Vec<String> = [
        // Must be the first.
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--max-connections=300",
        "--character-set-server=utf8mb4",
        "--server-id=1",
        "--innodb-flush-log-at-trx-commit=1",
        "--sync-binlog=1",
    ]
    .map(String::from)
    .into();
    arguments.extend([
        data,
        temporary,
        format!("--port={port}"),
        format!("--init-file={}", users.display()),
        format!("--socket={}/socket", home.path().display()),
        format!("--pid-file={}/mysqld.pid", home.path().display()),
    ]);
    // Without TLS: what tests look for in the requests must be readable. And on MySQL without a port and a folder that
    // are the same for all.
    let own: &[&str] = if is_mysql {
        &[NO_CERTIFICATES, "--mysqlx=OFF", "--secure-file-priv=NULL"]
    } else {
        &["--skip-ssl"]
    };
    let log: &[&str] = if options.contains(&NO_BINARY_LOG) { &[] } else { &["--log-bin=binlog"] };
    arguments.extend([root, own, log, options].concat().into_iter().map(String::from));
    let launch = Launch {
        name: if is_mysql { "MySQL" } else { "MariaDB" },
        url: format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/{USER}"),
        address: Ipv4Addr::LOCALHOST,
        ports: vec![port],
        program: server,
        arguments,
        environment: Vec::new(),
        ready: "ready for connections.",
        end: Signal::KILL,
    };
    Ok(Server::new(home, launch))
}
