//! Where the servers' programs are, and as whom they run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// What there is to be installed, on Debian and Ubuntu.
const INSTALL: &str = "apt-get install postgresql mariadb-server rabbitmq-server pgbouncer prometheus";

/// An account of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A program in the first of these folders that has it.
pub(crate) fn find(program: &str, folders: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| {
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("`{program}` is not installed: it is not in {}. Run `{INSTALL}`.", folders.join(", "))
    })
}

/// The folders of `PATH`, and those for administrators, which other users often haven't in theirs.
pub(crate) fn path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
    std::env::split_paths(&path).chain(system.map(PathBuf::from)).collect()
}

/// The folders `{parent}/{version}/bin`, the newest version first.
pub(crate) fn versions(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|version| parent.join(version.to_string()).join("bin")).collect()
}

/// For servers that refuse to run as root: another account to run as, if this is root.
pub(crate) fn instead_of_root(name: &str) -> anyhow::Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let account = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    });
    let account = account.with_context(|| {
        format!("the server refuses to run as root, and there is no user `{name}`. Run `{INSTALL}`.")
    })?;
    Ok(Some(account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_an_error_that_says_what_to_install() {
        let error = find("no-such-server", &[PathBuf::from("/usr/sbin"), PathBuf::from("/opt/bin")])
            .expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "`no-such-server` is not installed: it is not in /usr/sbin, /opt/bin. \
             Run `apt-get install postgresql mariadb-server rabbitmq-server pgbouncer prometheus`."
        );
    }

    #[test]
    fn the_newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for version in ["9", "15", "common"] {
            fs::create_dir(parent.path().join(version)).unwrap();
        }
        assert_eq!(versions(parent.path()), ["15/bin", "9/bin"].map(|folder| parent.path().join(folder)));
    }
}
