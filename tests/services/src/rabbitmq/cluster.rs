//! A cluster of RabbitMQ nodes, each at an address of its own, so that a test may kill one, hold it, or cut it off.

use std::fmt::Write;
use std::net::Ipv4Addr;

use futures_util::future::try_join_all;
use rustix::process::Signal;

use super::{Node, Server, prepare};
use crate::process::wait;
use crate::server::{self, Launch};
use crate::server_dir::ServerDir;
use crate::{PASSWORD, USER, port, program};

/// As many as a quorum queue has copies.
const NODES: u8 = 3;
/// Above what loopback interfaces have names for.
const FIRST: u8 = 11;

/// Three nodes that know each other. Dropping it stops them.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    /// Where nodes ask for each other's ports. One for all: none of them may take it along when it dies. Stopped last.
    _epmd: crate::Server,
}

impl Cluster {
    /// Starts the nodes at once, and waits until they have found each other.
    ///
    /// # Errors
    /// When RabbitMQ is not installed, or a node doesn't start.
    pub async fn start() -> anyhow::Result<Self> {
        let epmd = server::start(async || epmd()).await?;
        let hosts = epmd.directory().join(HOSTS);
        let names: Vec<_> = (0..NODES).map(|index| format!("{0}@{0}", host(index))).collect();
        let lines = lines(&names)?;
        let cookie = format!("services-{}", fastrand::u64(..));
        let nodes = (0..NODES).zip(&names).map(|(index, name)| {
            let cluster = Some((cookie.clone(), hosts.clone()));
            let node = Node { name: name.clone(), address: address(index), epmd: epmd.port(), cluster };
            let lines = &lines;
            async move {
                let server = server::start(async || prepare(&node, lines)).await?;
                anyhow::Ok(Server { server, name: node.name })
            }
        });
        let cluster = Self { nodes: try_join_all(nodes).await?, _epmd: epmd };
        wait("the nodes to find each other", async || Ok(cluster.is_connected().await)).await?;
        Ok(cluster)
    }

    /// Whether each node sees all others. A queue gets its copies on the nodes that the one knows that declares it; and two that
    /// see only the third are no majority without it.
    pub async fn is_connected(&self) -> bool {
        let members = NODES.to_string();
        for node in &self.nodes {
            if node.ctl(["await_online_nodes", &members, "--timeout", "5"]).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The nodes; each may be killed and started again.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// All nodes in one URL.
    pub fn url(&self) -> String {
        let places: Vec<_> = (0..NODES)
            .zip(&self.nodes)
            .map(|(index, node)| format!("{}:{}", address(index), node.port()))
            .collect();
        format!("amqp://{USER}:{PASSWORD}@{}/%2f", places.join(","))
    }

    /// The index of the node that leads a queue.
    ///
    /// # Errors
    /// When none of the nodes that run knows a leader.
    pub async fn leader(&self, queue: &str) -> anyhow::Result<usize> {
        let mut said = String::new();
        for node in self.nodes.iter().filter(|node| node.runs()) {
            said = node.ctl(["list_queues", "name", "leader"]).await.unwrap_or_default();
            let mut rows = said.lines().filter_map(|row| row.split_once('\t'));
            let leader = rows.find(|(name, _)| *name == queue).map(|(_, leader)| leader.trim());
            if let Some(index) = self.nodes.iter().position(|node| Some(node.name()) == leader) {
                return Ok(index);
            }
        }
        Err(anyhow::anyhow!("no leader of the queue `{queue}`; RabbitMQ lists: {said}"))
    }
}

const HOSTS: &str = "hosts";

fn host(index: u8) -> String {
    format!("node-{}", index + 1)
}

const fn address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, FIRST + index)
}

fn epmd() -> anyhow::Result<crate::Server> {
    let home = ServerDir::new(None)?;
    let mut hosts = String::from("{lookup, [file, native]}.\n");
    for index in 0..NODES {
        let address = address(index).to_string().replace('.', ",");
        writeln!(hosts, "{{host, {{{address}}}, [\"{}\"]}}.", host(index))?;
    }
    home.write(HOSTS, &hosts)?;
    let [port] = port::free()?;
    let addresses: Vec<_> = (0..NODES).map(|index| address(index).to_string()).collect();
    // `-d`: it stays, and says when it is ready.
    let arguments = ["-d", "-port", &port.to_string(), "-address", &addresses.join(",")].map(str::to_owned);
    let launch = Launch {
        name: "epmd",
        url: String::new(),
        address: Ipv4Addr::LOCALHOST,
        ports: vec![port],
        program: program::find("epmd", &program::path())?,
        arguments: arguments.into(),
        environment: Vec::new(),
        ready: "epmd running",
        end: Signal::KILL,
    };
    Ok(crate::Server::new(home, launch))
}

/// How they find each other, and soon notice that one is gone: RabbitMQ's default is a minute.
fn lines(names: &[String]) -> anyhow::Result<String> {
    let mut lines = String::from(
        "net_ticktime = 5\n\
         cluster_formation.peer_discovery_backend = classic_config\n\
         cluster_formation.target_cluster_size_hint = 3\n",
    );
    for (name, number) in names.iter().zip(1..) {
        writeln!(lines, "cluster_formation.classic_config.nodes.{number} = {name}")?;
    }
    Ok(lines)
}
