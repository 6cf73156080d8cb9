//! The beginning of the page: what it all comes to. The figures are those of the stored results, the words
//! are not: read them again when there are new results.

use std::fmt::Write;

use super::results::{Relative, Results, Row};

/// What takes part in nearly every sentence.
const HANDLER: &str = "handler";
const FENCE: &str = "fence";

pub(super) fn text(all: &[Results]) -> Result<String, std::fmt::Error> {
    let goals = || all.iter().flat_map(|results| &results.goals);
    let missed = goals().filter(|goal| !goal.met).count();
    let of = |scenario, database, callers, contestant, number| {
        relative(all, (scenario, database, callers, contestant), number)
    };
    let both = |scenario, database, callers, number: fn(Relative) -> f64| {
        let of = |contestant| of(scenario, database, callers, contestant, number);
        (of(HANDLER), of(FENCE))
    };
    let latency = |contestant| {
        let row = row(all, ("latency", "postgres", 1, contestant));
        row.map_or_else(|| "?".into(), |row| format!("{:.1}", row.numbers.p50_us / 1000.0))
    };
    let recovery = all.iter().find(|results| results.run.scenario == "recovery");
    let recovery =
        recovery.and_then(|results| results.times.iter().map(|time| time.seconds).max_by(f64::total_cmp));
    let run = all.iter().find(|results| results.run.scenario == "pipeline").map(|results| &results.run);
    let (machine, servers) =
        run.map_or(("?", "?"), |run| (run.machine.split(", load").next().unwrap_or("?"), &run.servers));

    let mut text = String::from(
        "# Benchmarks\n\n\
         What a message costs with this crate, relative to an outbox table that you write by hand (1.00):\n\n",
    );
    let mut item = |line: String| writeln!(text, "- {line}");
    let (handler, fence) = both("send", "postgres", 1, p50);
    item(format!(
        "**Dear: one call at a time.** PostgreSQL: {handler} × the time with a handler, {fence} × with a fence."
    ))?;
    let (_, fence) = both("send", "postgres", 64, rate);
    item(format!(
        "**Dear: a fence under load.** 64 callers on PostgreSQL make {fence} × the calls a second."
    ))?;
    let (handler, fence) = both("send", "mysql", 64, rate);
    item(format!(
        "**Dear: MariaDB.** 64 callers: {handler} × the calls a second with a handler, {fence} × with a fence."
    ))?;
    let (handler, fence) = both("pipeline", "postgres", 64, rate);
    item(format!(
        "**Dear: when processor time is short.** With RabbitMQ on the same cores: {handler} × with a handler, {fence} × with a fence."
    ))?;
    let (many, most) = (both("send", "postgres", 64, rate).0, both("send", "postgres", 256, rate).0);
    item(format!(
        "**Cheap: a handler and many callers.** PostgreSQL: {many} × the calls a second with 64 callers, {most} × with 256."
    ))?;
    let (handler, fence) = both("send --rtt", "postgres", 1, p50);
    item(format!(
        "**Cheap: a distant database.** One caller, 0.5 ms away: {handler} × the time with a handler, {fence} × with a fence."
    ))?;
    item(format!(
        "**Latency:** a message arrives {} ms after the commit; {} ms with an outbox that is polled every 50 ms.",
        latency(HANDLER),
        latency("outbox")
    ))?;
    item(format!(
        "**After a crash,** another process has delivered the message within {} s. [Our goals](#our-goals): {missed} of {} are missed.",
        recovery.map_or_else(|| "?".into(), |seconds| format!("{seconds:.1}")),
        goals().count()
    ))?;
    item(format!("**Machine:** {machine}, shared by client, database and broker; {servers}."))?;
    item("**Command:** `cargo run --release --manifest-path tests/bench/Cargo.toml -- all` measures everything and writes this page.".into())?;
    Ok(text)
}

/// Scenario, database, callers, contestant.
type Place<'a> = (&'a str, &'a str, usize, &'a str);

fn row<'a>(all: &'a [Results], (scenario, database, callers, contestant): Place<'_>) -> Option<&'a Row> {
    all.iter().find(|results| results.run.scenario == scenario)?.row(contestant, database, callers)
}

/// A quick run doesn't have all of them.
fn relative(all: &[Results], place: Place<'_>, number: fn(Relative) -> f64) -> String {
    let relative = row(all, place).and_then(|row| row.relative);
    relative.map_or_else(|| "?".into(), |relative| format!("{:.2}", number(relative)))
}

fn rate(relative: Relative) -> f64 {
    relative.rate
}

fn p50(relative: Relative) -> f64 {
    relative.p50
}
