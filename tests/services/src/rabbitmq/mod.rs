//! RabbitMQ, with and without TLS: a node that knows no other, or a [`Cluster`].

mod cluster;

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

pub use self::cluster::Cluster;
use crate::certificate::Identity;
use crate::process::run;
use crate::server::{self, Launch};
use crate::server_dir::ServerDir;
use crate::{PASSWORD, USER, port, program};

/// RabbitMQ's own scripts. Those in /usr/sbin change to the user `rabbitmq`, who can't read our files.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// Nodes find each other through `epmd`, which a node would start as a daemon for the whole machine,
/// and leave behind. A lone node has its own instead, which is killed with it.
const START: &str = r#"epmd & exec "$0" -noinput"#;
const START_WITHOUT_EPMD: &str = r#"exec "$0" -noinput"#;
/// Below what any node uses.
const LITTLE_MEMORY: &str = "0.0000001";
/// RabbitMQ's default.
const ENOUGH_MEMORY: &str = "0.4";

/// A RabbitMQ server. It is a [`Server`](crate::Server), and can more.
#[derive(Debug)]
pub struct Server {
    server: crate::Server,
    name: String,
}

/// Where a node is, and how it finds others.
#[derive(Clone, Debug)]
struct Node {
    name: String,
    address: Ipv4Addr,
    epmd: u16,
    /// Of a cluster: the cookie that its nodes share, and where their host names are looked up.
    cluster: Option<(String, PathBuf)>,
}

/// Starts a RabbitMQ server.
///
/// # Errors
/// When it is not installed, or doesn't start.
pub async fn start() -> anyhow::Result<Server> {
    start_with("").await
}

/// Starts a RabbitMQ server with these lines in its `rabbitmq.conf`, too.
///
/// # Errors
/// When it is not installed, or doesn't start.
pub async fn start_with(lines: &str) -> anyhow::Result<Server> {
    let prepare = async || {
        let [epmd] = port::free()?;
        let name = format!("services-{epmd}@localhost");
        prepare(&Node { name, address: Ipv4Addr::LOCALHOST, epmd, cluster: None }, lines)
    };
    let server = server::start(prepare).await?;
    let name = server.environment("RABBITMQ_NODENAME").to_owned();
    Ok(Server { server, name })
}

impl Deref for Server {
    type Target = crate::Server;

    fn deref(&self) -> &Self::Target {
        &self.server
    }
}

impl Server {
    /// The node's name, as RabbitMQ's lists have it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is with TLS.
    pub fn amqps_url(&self) -> String {
        format!("amqps://{USER}:{PASSWORD}@localhost:{}/%2f", self.ports()[1])
    }

    /// The certificate of the authority that signed the server's certificate, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.directory().join("authority.pem")
    }

    /// Runs `rabbitmqctl` against it, and returns what that prints.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn ctl(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<String> {
        run(self.command(&script("rabbitmqctl")?)?.arg("--quiet").args(arguments)).await
    }

    /// Enables one of the plugins that come with RabbitMQ.
    ///
    /// # Errors
    /// When `rabbitmq-plugins` fails.
    pub async fn enable_plugin(&self, name: &str) -> anyhow::Result<()> {
        run(self.command(&script("rabbitmq-plugins")?)?.args(["enable", name])).await?;
        Ok(())
    }

    /// Makes it believe that it's short of memory, whereupon it blocks everybody who publishes; or
    /// that it has enough again.
    ///
    /// # Errors
    /// When `rabbitmqctl` fails.
    pub async fn alarm(&self, on: bool) -> anyhow::Result<()> {
        let memory = if on { LITTLE_MEMORY } else { ENOUGH_MEMORY };
        self.ctl(["set_vm_memory_high_watermark", memory]).await?;
        Ok(())
    }
}

fn script(name: &str) -> anyhow::Result<PathBuf> {
    program::find(name, &[SCRIPTS.into()])
}

fn prepare(node: &Node, lines: &str) -> anyhow::Result<crate::Server> {
    let script = script("rabbitmq-server")?.display().to_string();
    program::find("epmd", &program::path())?;
    let home = ServerDir::new(None)?;
    let Node { address, epmd, .. } = *node;
    let [plain, tls, distribution] = port::free()?;
    let settings = settings(&home, address, plain, tls, lines)?;
    let start = if node.cluster.is_some() { START_WITHOUT_EPMD } else { START };
    let mut ports = vec![plain, tls, distribution];
    if node.cluster.is_none() {
        ports.push(epmd);
    }
    let launch = Launch {
        name: "RabbitMQ",
        url: format!("amqp://{USER}:{PASSWORD}@{address}:{plain}/%2f"),
        address,
        ports,
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), start.into(), script],
        environment: environment(&home, &settings, distribution, node)?,
        ready: "Server startup complete",
        end: Signal::KILL,
    };
    Ok(crate::Server::new(home, launch))
}

fn settings(
    home: &ServerDir,
    address: Ipv4Addr,
    plain: u16,
    tls: u16,
    lines: &str,
) -> anyhow::Result<PathBuf> {
    let Identity { authority, certificate, key } = Identity::new()?;
    let authority = home.write("authority.pem", &authority)?;
    let certificate = home.write("certificate.pem", &certificate)?;
    let key = home.write("key.pem", &key)?;
    let settings = format!(
        "listeners.tcp.1 = {address}:{plain}\n\
         listeners.ssl.1 = {address}:{tls}\n\
         ssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\n\
         ssl_options.verify = verify_none\n\
         ssl_options.fail_if_no_peer_cert = false\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         {lines}\n",
        authority.display(),
        certificate.display(),
        key.display(),
    );
    home.write("rabbitmq.conf", &settings)
}

/// What the node and `rabbitmqctl` need to know, to find each other and disturb nobody else.
fn environment(
    home: &ServerDir,
    settings: &Path,
    distribution: u16,
    node: &Node,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let Node { name, address, epmd, cluster } = node;
    let plugins = home.write("enabled_plugins", "[].\n")?;
    let within = |name: &str| home.path().join(name).display().to_string();
    let interface = address.to_string().replace('.', ",");
    // From its own address, too: so that a test which drops what comes from there cuts the node off.
    let arguments = format!(
        "-kernel inet_dist_use_interface {{{interface}}} -kernel inet_dist_connect_options [{{ip,{{{interface}}}}}]"
    );
    let mut environment = vec![
        ("RABBITMQ_NODENAME", name.clone()),
        ("RABBITMQ_CONFIG_FILE", settings.display().to_string()),
        // Debian's has settings for the whole machine.
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", plugins.display().to_string()),
        ("RABBITMQ_MNESIA_BASE", within("mnesia")),
        ("RABBITMQ_LOG_BASE", within("logs")),
        // To the standard output.
        ("RABBITMQ_LOGS", "-".into()),
        ("RABBITMQ_PID_FILE", within("rabbitmq.pid")),
        // The script then becomes the node, and doesn't stand between it and us.
        ("RABBITMQ_ALLOW_INPUT", "1".into()),
        ("RABBITMQ_DIST_PORT", distribution.to_string()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments),
        // Any port: eleven are the default, for all that run on the machine.
        ("RABBITMQ_CTL_DIST_PORT_MIN", "0".into()),
        ("RABBITMQ_CTL_DIST_PORT_MAX", "0".into()),
        ("ERL_EPMD_PORT", epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("ERL_ZFLAGS", "-start_epmd false".into()),
    ];
    if let Some((cookie, hosts)) = cluster {
        environment.push(("RABBITMQ_ERLANG_COOKIE", cookie.clone()));
        environment.push(("ERL_INETRC", hosts.display().to_string()));
    }
    Ok(environment)
}
