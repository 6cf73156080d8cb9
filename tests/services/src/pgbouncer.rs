//! `PgBouncer` in front of a PostgreSQL server: each transaction may get another connection.

use anyhow::Context;
use rustix::process::Signal;
use std::net::Ipv4Addr;
use url::Url;

use crate::server::{self, Launch, Server};
use crate::server_dir::ServerDir;
use crate::{port, program};

/// Starts a `PgBouncer` that pools transactions, in front of the PostgreSQL server with this URL.
///
/// # Errors
/// When it is not installed, or doesn't start, or the URL is none.
pub async fn start(postgres_url: &str) -> anyhow::Result<Server> {
    let server = Url::parse(postgres_url).context("the URL of PostgreSQL for PgBouncer is none")?;
    let host = server.host_str().context("the URL of PostgreSQL for PgBouncer has no host")?;
    let (user, password) = (server.username(), server.password().unwrap_or_default());
    anyhow::ensure!(
        !user.contains('%') && !password.contains('%'),
        "PgBouncer's settings take no percent-encoding in user or password; choose others"
    );
    // Few connections, so that clients often get one that another client had.
    let settings = format!(
        "[databases]\n\
         * = host={host} port={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = users\n\
         pool_mode = transaction\n\
         default_pool_size = 5\n\
         max_client_conn = 300\n\
         server_idle_timeout = 1\n\
         ignore_startup_parameters = extra_float_digits\n",
        server.port().unwrap_or(5432),
    );
    // Without authentication, too, it lets in only whom it knows, and has the password from here.
    let users = format!("\"{user}\" \"{password}\"\n");
    server::start(async || prepare(server.clone(), &settings, &users)).await
}

fn prepare(mut url: Url, settings: &str, users: &str) -> anyhow::Result<Server> {
    let pgbouncer = program::find("pgbouncer", &program::path())?;
    let home = ServerDir::new(program::instead_of_root("postgres")?)?;
    let [port] = port::free()?;
    home.write("users", users)?;
    let settings = home.write("pgbouncer.ini", &format!("{settings}listen_port = {port}\n"))?;
    url.set_host(Some("127.0.0.1")).context("setting the host of PgBouncer's URL")?;
    url.set_port(Some(port)).ok().context("setting the port of PgBouncer's URL")?;
    let launch = Launch {
        name: "PgBouncer",
        url: url.into(),
        address: Ipv4Addr::LOCALHOST,
        ports: vec![port],
        program: pgbouncer,
        arguments: vec![settings.display().to_string()],
        environment: Vec::new(),
        ready: "process up",
        end: Signal::KILL,
    };
    Ok(Server::new(home, launch))
}
