//! The CPU time that this process and its servers have used: what a call costs on a busy machine, whose
//! clock says little.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whose time is counted: this process, and the servers with their children.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    servers: Vec<u32>,
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) own: Duration,
    pub(crate) servers: Duration,
}

impl Used {
    /// What was used since.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            own: self.own.saturating_sub(earlier.own),
            servers: self.servers.saturating_sub(earlier.servers),
        }
    }
}

impl Cpu {
    /// Servers are known by their directories, in which their process ids are.
    pub(crate) fn of(directories: &[PathBuf]) -> Self {
        let pid = |directory: &PathBuf| fs::read_to_string(directory.join("pid")).ok()?.trim().parse().ok();
        Self { servers: directories.iter().filter_map(pid).collect() }
    }

    /// All of it so far.
    pub(crate) fn used(&self) -> Used {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let servers = processes.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let counts = self.servers.contains(&pid) || self.is_child(&entry.path());
            counts.then(|| used_by(&entry.path()))
        });
        Used { own: used_by(Path::new("/proc/self")), servers: servers.sum() }
    }

    fn is_child(&self, process: &Path) -> bool {
        // `pid (name) state parent`, and a name can have anything in it.
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        parent.is_some_and(|parent| self.servers.contains(&parent))
    }
}

/// By all its threads.
fn used_by(process: &Path) -> Duration {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let of = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(of).sum())
}
