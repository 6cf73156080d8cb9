//! Starts the service, lets it die at one point after the other, and compares the books.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::process::Command;
use transactional_message::fault;

use crate::books::Comparison;

/// How long the service may take to come to a point, or to settle: a bound on a hang, no measure.
const PATIENCE: Duration = Duration::from_mins(2);
/// The highest visit of a point that is drawn.
const VISITS: u64 = 40;
/// Seconds for which finished messages are kept where the janitor shall have work.
const SHORT_RETENTION: &str = "5";
const SIGKILL: i32 = 9;

/// Kills `rounds` times at every point, each time on what the last kill left, and settles and
/// compares after every round.
#[expect(clippy::print_stdout, reason = "the report")]
pub(crate) async fn run(rounds: u32, seed: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut random = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let mut kills = 0;
    let began = Instant::now();
    for round in 1..=rounds {
        for point in fault::POINTS {
            let visit = random.u64(1..=VISITS.min(u64::from(round) * 8));
            die(directory.path(), point, visit)
                .await
                .with_context(|| format!("round {round}, {point}:{visit}"))?;
            kills += 1;
        }
        settle(directory.path()).await.with_context(|| format!("round {round}"))?;
        let comparison = Comparison::make(directory.path()).await?;
        println!("round {round}: {kills} kills, {comparison}");
        if !comparison.agree() {
            let kept = directory.keep();
            anyhow::bail!("the books differ; they are kept in {}", kept.display());
        }
    }
    println!("{kills} kills in {:.1?}, the books agree", began.elapsed());
    Ok(())
}

async fn die(directory: &Path, point: &str, visit: u64) -> anyhow::Result<()> {
    let fault = format!("{point}:{visit}");
    let ended = if point == "janitor-between" {
        // Nothing may be left that is older than the short time for which this one asks.
        settle(directory).await?;
        child(directory, &["--retention", SHORT_RETENTION], Some(&fault)).await?
    } else {
        child(directory, &[], Some(&fault)).await?
    };
    anyhow::ensure!(
        ended.signal() == Some(SIGKILL),
        "the service was to die at {point}, and ended with {ended}"
    );
    Ok(())
}

async fn settle(directory: &Path) -> anyhow::Result<()> {
    let ended = child(directory, &["--quiet"], None).await?;
    anyhow::ensure!(ended.success(), "the service did not settle: {ended}");
    Ok(())
}

async fn child(directory: &Path, arguments: &[&str], fault: Option<&str>) -> anyhow::Result<ExitStatus> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--child").arg(directory).args(arguments).kill_on_drop(true).env_remove("TM_FAULT");
    if let Some(fault) = fault {
        command.env("TM_FAULT", fault);
    }
    let mut child = command.spawn()?;
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    ended.with_context(|| format!("still running after {PATIENCE:?}, fault {fault:?}"))?.map_err(Into::into)
}
