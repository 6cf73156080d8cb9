//! `import`: many messages in one transaction, beside a call for each.

use std::sync::Arc;

use crate::contestants::Contestant;
use crate::contestants::ours::{Fence, Imports, LINES, Ours};
use crate::measure::{self, Numbers};
use crate::options::{Database, Options};
use crate::report::Report;
use crate::world::{Open, World};

const CALLERS: usize = 64;
/// Importers: each has a transaction of a thousand messages open.
const IMPORTERS: usize = 2;

pub(crate) async fn run(world: &World, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let (time, cpu) = (options.time(3.0, 0.1), world.cpu());
    let single: Arc<dyn Contestant> =
        Arc::new(Fence(Ours::quiet(sqlx::Postgres::open(world, "single").await?).await?));
    let import: Arc<dyn Contestant> =
        Arc::new(Imports(Ours::quiet(sqlx::Postgres::open(world, "import").await?).await?));
    for repetition in 1..=options.repetitions(5) {
        let numbers = measure::load(&single, CALLERS, time, &cpu).await?;
        report.measured("a call each", Database::Postgres.name(), CALLERS, numbers);
        let numbers = measure::load(&import, IMPORTERS, time, &cpu).await?;
        let lines = LINES as f64;
        let numbers = Numbers {
            per_second: numbers.per_second * lines,
            own_cpu_us: numbers.own_cpu_us / lines,
            server_cpu_us: numbers.server_cpu_us / lines,
            ..numbers
        };
        report.measured("send_all", Database::Postgres.name(), IMPORTERS, numbers);
        report.progress(&format!("{repetition}. {:.0}/s", numbers.per_second));
    }
    single.close().await;
    import.close().await;
    let (ours, theirs) = (("send_all", IMPORTERS), ("a call each", CALLERS));
    report.at_least("messages a second", 5.0, ours, theirs, |numbers| numbers.per_second);
    Ok(())
}
