//! `many`: a call whose body sends ten messages.

use crate::contestants::senders_of_many;
use crate::measure;
use crate::options::Options;
use crate::report::Report;
use crate::world::World;

const CALLERS: [usize; 2] = [1, 64];

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let entries = senders_of_many(world, options).await?;
    let (time, cpu) = (options.time(0.5, 0.05), world.cpu());
    for repetition in 1..=options.repetitions(7) {
        for callers in options.callers(&CALLERS) {
            for entry in &entries {
                let numbers = measure::load(&entry.contestant, callers, time, &cpu).await?;
                report.measured(entry.name, entry.database.name(), callers, numbers);
                report.progress(&format!("{repetition}. {} {}", entry.database.name(), entry.name));
            }
        }
    }
    for entry in &entries {
        entry.contestant.close().await;
    }
    for callers in CALLERS {
        let goal = format!("{callers} callers: fence p50");
        report.at_most(&goal, 1.5, ("fence", callers), ("outbox", callers), |numbers| numbers.p50_us);
    }
    Ok(())
}
