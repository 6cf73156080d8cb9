//! Starts the service, strikes it at one point after the other, each time on what the last death
//! left, and compares the books after every round.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::books::{self, Comparison};
use crate::caller_log;
use crate::database::Kind;
use crate::history;
use crate::place::{Place, StoreIn};
use crate::process::{PATIENCE, Service};
use crate::report::Report;
use crate::schedule::{Schedule, Strike, Target};

/// How long another process may work while one is frozen: it waits for what that one has locked.
const MEANWHILE: Duration = Duration::from_secs(3);
/// How often the books may disagree before that is final: a message may still be on its way.
const LOOKS: u32 = 3;
const LOOK: Duration = Duration::from_millis(20);

/// A run as it was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) with_broker: bool,
    pub(crate) store_in: StoreIn,
    pub(crate) kills: usize,
    pub(crate) targets: Vec<Target>,
    pub(crate) callers: u64,
    /// Another service is at work all the time, and is killed at the end of each round.
    pub(crate) beside: bool,
    /// The program of an earlier version, which makes the tables.
    pub(crate) old: Option<PathBuf>,
    pub(crate) seed: u64,
    pub(crate) discard: bool,
}

/// Kills until the plan is fulfilled. What it found wrong is an error.
pub(crate) async fn run(plan: Plan) -> anyhow::Result<Report> {
    let place = Place::create(plan.kind, plan.with_broker, plan.store_in).await?;
    let began = Instant::now();
    let broker = if plan.with_broker { " + rabbitmq" } else { "" };
    let mut report = Report::new(format!("{:?}{broker}", plan.kind).to_lowercase(), plan.seed);
    let done = strike_all(&plan, &place, &mut report).await;
    report.took = began.elapsed();
    let done = done
        .with_context(|| format!("after {} kills; the same again with --seed {}", report.kills, plan.seed));
    place.conclude(done, plan.discard).await?;
    Ok(report)
}

#[expect(clippy::print_stdout, reason = "how far it is")]
async fn strike_all(plan: &Plan, place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let run = Run { plan, place };
    let mut old = None;
    if let Some(program) = &plan.old {
        old = Some(run.begin_with(program).await?);
    } else {
        // Creates the tables.
        settle(place).await?;
    }
    history::install(&place.store().await?).await?;
    let mut schedule = Schedule::new(plan.targets.clone(), plan.seed);
    while report.kills < plan.kills {
        let strikes = schedule.round();
        // Who stands still for longer than a lease is taken for dead; without others nobody would.
        let is_slow = strikes.iter().any(|strike| matches!(strike.target, Target::Frozen(..)))
            || plan.beside
            || old.is_some();
        let beside = if plan.beside { Some(run.start(!strikes[0].seed, &[])?) } else { None };
        for strike in strikes {
            if report.kills >= plan.kills {
                break;
            }
            run.strike(&strike).await.with_context(|| format!("the service, {strike}"))?;
            report.kills += 1;
        }
        if let Some(mut beside) = beside {
            beside.kill().await?;
        }
        let ends = if let Some(mut old) = old.take() {
            // Until now, whatever became of its tables.
            anyhow::ensure!(old.runs()?, "the old service has ended by itself");
            old.kill().await?;
            true
        } else {
            false
        };
        let mut comparison = compare(place).await?;
        if is_slow {
            comparison.robbed.clear();
        }
        report.add(&comparison, caller_log::recoveries(&place.directory)?);
        println!("{:>5} kills: {comparison}", report.kills);
        anyhow::ensure!(comparison.agree(), "the books differ: {comparison}");
        books::forget(place).await?;
        if ends {
            break;
        }
    }
    Ok(())
}

struct Run<'a> {
    plan: &'a Plan,
    place: &'a Place,
}

impl Run<'_> {
    async fn strike(&self, strike: &Strike) -> anyhow::Result<()> {
        let mut arguments: Vec<_> = strike.faults.iter().map(|fault| format!("--fault={fault}")).collect();
        arguments.extend(strike.recover.then(|| "--recover".to_owned()));
        if strike.target.is_at("janitor-between") {
            // So that there is something to prune; and nothing may be left that is older then.
            settle(self.place).await?;
            arguments.push("--retention=5".into());
        }
        let mut service = self.start(strike.seed, &arguments)?;
        match strike.target {
            Target::Point(_) => service.die().await,
            Target::Anywhere => {
                tokio::time::sleep(strike.after).await;
                service.kill().await
            }
            Target::Frozen(..) => {
                service.freeze().await?;
                self.meanwhile().await?;
                service.thaw()?;
                service.die().await
            }
        }
    }

    /// An earlier version makes its tables, and is at work.
    async fn begin_with(&self, old: &Path) -> anyhow::Result<Service> {
        let made = Service::start_old(old, self.place, ["--quiet"])?.end(PATIENCE).await?;
        anyhow::ensure!(made.success(), "the old service made no tables: {made}");
        let callers = [format!("--callers={}", self.plan.callers), format!("--seed={}", self.plan.seed)];
        let service = Service::start_old(old, self.place, callers)?;
        let began = Instant::now();
        while caller_log::told(&self.place.directory)?.is_empty() {
            anyhow::ensure!(began.elapsed() < PATIENCE, "the old service makes no calls");
            tokio::time::sleep(LOOK).await;
        }
        Ok(service)
    }

    /// A service with callers.
    fn start(&self, seed: u64, more: &[String]) -> anyhow::Result<Service> {
        let callers = [format!("--callers={}", self.plan.callers), format!("--seed={seed}")];
        Service::start(self.place, callers.iter().chain(more))
    }

    /// Another process takes over what it can.
    async fn meanwhile(&self) -> anyhow::Result<()> {
        let mut other = Service::start(self.place, ["--quiet"])?;
        if other.end(MEANWHILE).await.is_err() {
            other.kill().await?;
        }
        Ok(())
    }
}

/// Lets everything come to its end.
pub(crate) async fn settle(place: &Place) -> anyhow::Result<()> {
    let ended = Service::start(place, ["--quiet"])?.end(PATIENCE).await;
    let ended = ended.context("the service does not settle")?;
    anyhow::ensure!(ended.success(), "the service did not settle: {ended}");
    Ok(())
}

/// Compares the books, once everything has come to its end.
pub(crate) async fn compare(place: &Place) -> anyhow::Result<Comparison> {
    let mut looks = 1;
    loop {
        let settled = settle(place).await;
        let comparison = Comparison::make(place).await?;
        if comparison.agree() {
            // Then it is not the books that have something to say about it.
            settled?;
        }
        if comparison.agree() || looks >= LOOKS {
            return Ok(comparison);
        }
        looks += 1;
    }
}
