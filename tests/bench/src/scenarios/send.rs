//! `send`: a call whose body inserts one row; how many a second, and how long one takes.

use crate::contestants::senders;
use crate::measure::{self, Numbers};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::World;

const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// Databases other than PostgreSQL have no goals: fewer points do.
const ELSEWHERE: [usize; 2] = [1, 64];

/// Many short measurements, in turns: what else the machine does hits everybody.
pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let entries = senders(world, options).await?;
    let (time, cpu) = (options.time(0.5, 0.05), world.cpu());
    for repetition in 1..=options.repetitions(7) {
        for callers in options.callers(&CALLERS) {
            for entry in &entries {
                if entry.database != Database::Postgres
                    && options.callers.is_empty()
                    && !ELSEWHERE.contains(&callers)
                {
                    continue;
                }
                let numbers = measure::load(&entry.contestant, callers, time, &cpu).await?;
                report.measured(entry.name, entry.database.name(), callers, numbers);
                report.progress(&format!("{repetition}. {} {}", entry.database.name(), entry.name));
            }
        }
    }
    for entry in &entries {
        entry.contestant.close().await;
    }
    if options.rtt {
        far_goals(report);
    } else {
        goals(report);
    }
    Ok(())
}

fn far_goals(report: &mut Report) {
    report.at_most("1 caller: fence p50", 1.1, ("fence", 1), ("outbox", 1), p50);
    report.at_least("64 callers: fence rate", 1.0, ("fence", 64), ("outbox", 64), rate);
}

fn goals(report: &mut Report) {
    report.at_most("1 caller: handler p50", 1.4, ("handler", 1), ("outbox", 1), p50);
    report.at_least("64 callers: handler rate", 1.4, ("handler", 64), ("outbox", 64), rate);
    report.at_least("64 callers: handler rate", 0.75, ("handler", 64), ("bare", 64), rate);
    report.at_least("256 callers: handler rate", 1.8, ("handler", 256), ("outbox", 256), rate);
    report.at_least("256 callers: handler rate", 0.9, ("handler", 256), ("bare", 256), rate);
    report.at_least("64 callers: fence rate", 1.0, ("fence", 64), ("outbox", 64), rate);
}

const fn p50(numbers: Numbers) -> f64 {
    numbers.p50_us
}

const fn rate(numbers: Numbers) -> f64 {
    numbers.per_second
}
