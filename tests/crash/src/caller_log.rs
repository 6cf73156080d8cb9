//! What the service writes down so that it survives its process: what callers were told, and how
//! long it took to settle what a dead process had left.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

const TOLD: &str = "told";
const RECOVERIES: &str = "recoveries";
const LOG: &str = "log";
/// What the consumer logs about a message that it has had before.
const DUPLICATE: &str = "came again";
/// What the janitor logs about fence rows that nobody will prune.
const STRANGERS: &str = "fence rows whose message the store does not know";

/// What callers were told.
#[derive(Debug)]
pub(crate) struct CallerLog(File);

/// A caller's answer, for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Refused,
    /// Somebody decided the call while its body was alive.
    Preempted,
}

impl CallerLog {
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        Ok(Self(appending(directory, TOLD)?))
    }

    pub(crate) fn done(&self, action: Uuid) -> anyhow::Result<()> {
        self.note(action, "done")
    }

    pub(crate) fn refused(&self, action: Uuid) -> anyhow::Result<()> {
        self.note(action, "refused")
    }

    pub(crate) fn robbed(&self, action: Uuid) -> anyhow::Result<()> {
        self.note(action, "robbed")
    }

    /// One line, in one write.
    fn note(&self, action: Uuid, word: &str) -> anyhow::Result<()> {
        (&self.0).write_all(format!("{action} {word}\n").as_bytes())?;
        Ok(())
    }
}

/// What callers are told from now on.
pub(crate) fn follow(directory: &Path) -> anyhow::Result<File> {
    // It may not be there yet.
    appending(directory, TOLD)?;
    Ok(File::open(directory.join(TOLD))?)
}

/// All answers since the last [`forget`].
pub(crate) fn told(directory: &Path) -> anyhow::Result<Vec<(Uuid, Answer)>> {
    let answer = |line: &str| {
        let (action, word) = line.split_once(' ')?;
        let answer = match word {
            "done" => Answer::Done,
            "refused" => Answer::Refused,
            "robbed" => Answer::Preempted,
            _ => return None,
        };
        Some((action.parse().ok()?, answer))
    };
    let lines = read(directory, TOLD)?;
    let answers = lines.lines().map(|line| answer(line).ok_or_else(|| anyhow::anyhow!("told: `{line}`")));
    answers.collect()
}

/// Notes that everything that a dead process had left is settled, so long after this one started.
pub(crate) fn recovered(directory: &Path, after: Duration) -> anyhow::Result<()> {
    let mut file = appending(directory, RECOVERIES)?;
    Ok(file.write_all(format!("{}\n", after.as_millis()).as_bytes())?)
}

/// All recoveries since the last [`forget`].
pub(crate) fn recoveries(directory: &Path) -> anyhow::Result<Vec<Duration>> {
    let lines = read(directory, RECOVERIES)?;
    lines.lines().map(|line| Ok(Duration::from_millis(line.parse()?))).collect()
}

/// Where the service logs.
pub(crate) fn log(directory: &Path) -> anyhow::Result<File> {
    appending(directory, LOG)
}

/// How often the consumer got a message that it has had before.
pub(crate) fn duplicates(directory: &Path) -> anyhow::Result<usize> {
    Ok(read(directory, LOG)?.matches(DUPLICATE).count())
}

/// How often the janitor warned of fence rows whose message is not there.
pub(crate) fn strangers(directory: &Path) -> anyhow::Result<usize> {
    Ok(read(directory, LOG)?.matches(STRANGERS).count())
}

/// Where the log shows the password of all servers.
pub(crate) fn leaks(directory: &Path) -> anyhow::Result<Vec<String>> {
    let log = read(directory, LOG)?;
    Ok(log.lines().filter(|line| line.contains(services::PASSWORD)).map(str::to_owned).collect())
}

/// Forgets everything.
pub(crate) fn forget(directory: &Path) -> anyhow::Result<()> {
    for name in [TOLD, RECOVERIES, LOG] {
        File::create(directory.join(name))?;
    }
    Ok(())
}

fn appending(directory: &Path, name: &str) -> anyhow::Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(directory.join(name))?)
}

fn read(directory: &Path, name: &str) -> anyhow::Result<String> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(String::new());
    }
    // What a process wrote last may be cut in the middle of a character.
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}
