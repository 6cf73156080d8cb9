//! A Galera cluster of MariaDB nodes: each may be written to.

use crate::server::{self, Server};

use super::{NO_BINARY_LOG, prepare};
use crate::{port, program};

const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// Starts three nodes, one after the other: each gets what the others have. Not as root: rsync, which brings that, would give
/// up its rights, and then miss them.
///
/// # Errors
/// When MariaDB or its package `galera-4` is not installed, or a node doesn't start.
pub async fn start_galera() -> anyhow::Result<Vec<Server>> {
    anyhow::ensure!(
        std::path::Path::new(PROVIDER).exists(),
        "{PROVIDER} is not there: apt-get install galera-4 rsync"
    );
    let ports: [u16; 3] = port::free()?;
    let all: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut nodes = Vec::new();
    for (place, number) in all.iter().zip(1..) {
        let [incremental, snapshot]: [u16; 2] = port::free()?;
        let options = [
            format!("--server-id={number}"),
            "--wsrep-on=ON".into(),
            format!("--wsrep-provider={PROVIDER}"),
            "--wsrep-cluster-name=services".into(),
            format!("--wsrep-cluster-address=gcomm://{}", all.join(",")),
            format!("--wsrep-node-address={place}"),
            format!("--wsrep-node-name=node-{number}"),
            format!("--wsrep-sst-receive-address=127.0.0.1:{snapshot}"),
            "--wsrep-sst-method=rsync".into(),
            // Soon notices that a node is gone.
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://{place};ist.recv_addr=127.0.0.1:{incremental};\
                 evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;gcache.size=16M"
            ),
            // The script that copies a node to another one fails over a log with a relative name.
            NO_BINARY_LOG.into(),
            "--binlog-format=ROW".into(),
            "--innodb-autoinc-lock-mode=2".into(),
        ];
        let mut options: Vec<_> = options.iter().map(String::as_str).collect();
        // The first finds nobody. It is told so at each start: it would found a second cluster.
        if nodes.is_empty() {
            options.push("--wsrep-new-cluster");
        }
        let user = program::instead_of_root("mysql")?;
        nodes.push(server::start(async || prepare(&options, user).await).await?);
    }
    Ok(nodes)
}
