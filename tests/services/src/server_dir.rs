//! The directory of a server, and a watcher that ends the server and removes the directory when the
//! process that started it dies.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rustix::process::Pid;
use tempfile::TempDir;

use crate::program::{self, User};

/// Where the directories are made, if it's set.
const DIRECTORY: &str = "TM_TEST_DIRECTORY";
const MEMORY: &str = "/dev/shm";
/// A few servers of each kind, and what tests write. Containers often have 64 MiB.
const ENOUGH: u64 = 1 << 30;

/// Runs until its standard input is closed, which the system does for a process that dies. That's
/// unlike `PR_SET_PDEATHSIG`, which watches but the thread that started the server; tests end theirs.
///
/// `QUIT` first: to it PostgreSQL frees its shared memory, which no directory holds. Some of what a
/// killed server has started may still write, and make the removal fail.
const WATCHER: &str = r#"
read -r nothing
if [ -s "$1/pid" ]; then
    group=-$(cat "$1/pid")
    kill -s QUIT -- "$group"
    kill -s CONT -- "$group"
    for attempt in $(seq 30); do kill -s 0 -- "$group" || break; sleep 0.1; done
    kill -s KILL -- "$group"
fi
for attempt in $(seq 30); do rm -rf -- "$1" && break; sleep 0.1; done
"#;

/// A server's directory. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct ServerDir {
    directory: TempDir,
    watcher: Child,
    user: Option<User>,
}

impl ServerDir {
    /// For a server that runs as this user.
    pub(crate) fn new(user: Option<User>) -> anyhow::Result<Self> {
        let parent = data_directory();
        let directory = tempfile::Builder::new()
            .prefix("services-")
            .tempdir_in(&parent)
            .with_context(|| format!("making a directory in {}", parent.display()))?;
        if let Some(user) = user {
            chown(directory.path(), Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} to {user:?}", directory.path().display()))?;
        }
        let watcher = Command::new("/bin/sh")
            .args(["-c", WATCHER, "watcher"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Control-C at the terminal isn't for it.
            .process_group(0)
            .spawn()
            .context("starting /bin/sh, to watch over the server")?;
        Ok(Self { directory, watcher, user })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file that the server may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// A command that knows nothing of this process's environment, but where programs are.
    pub(crate) fn command(&self, program: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::join_paths(program::path()).context("joining the folders of PATH")?)
            .env("HOME", self.path())
            .env("LC_ALL", "C.UTF-8");
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        Ok(command)
    }

    /// Tells the watcher what is to be ended.
    pub(crate) fn watch(&self, leader: Option<Pid>) -> anyhow::Result<()> {
        self.write("pid", &leader.map(|pid| pid.to_string()).unwrap_or_default())?;
        Ok(())
    }
}

impl Drop for ServerDir {
    fn drop(&mut self) {
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}

static ON_DISK: AtomicBool = AtomicBool::new(false);

/// From now on, servers keep their data where temporary files are, also where there is room in memory:
/// for benchmarks, in which a commit has to cost what it costs.
pub fn keep_on_disk() {
    ON_DISK.store(true, Ordering::Relaxed);
}

/// Where servers keep their data, and tests theirs: in memory if there's room. A commit waits for the disk, on a shared
/// machine for seconds at times.
pub fn data_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return directory.into();
    }
    if ON_DISK.load(Ordering::Relaxed) {
        return std::env::temp_dir();
    }
    let room = rustix::fs::statvfs(MEMORY).map(|memory| memory.f_bavail * memory.f_frsize);
    if room.is_ok_and(|room| room >= ENOUGH) { MEMORY.into() } else { std::env::temp_dir() }
}
