//! Results as text: for the terminal, and for the page's appendix.

use std::fmt::Write;

use super::results::{Results, Row, Run};

/// On what it was measured.
pub(super) fn heading(run: &Run) -> String {
    let lines = [&run.machine, &run.versions, &run.servers];
    lines.into_iter().filter(|line| !line.is_empty()).cloned().collect::<Vec<_>>().join("\n")
}

/// What was measured. Times have a table of their own: a call's columns would be empty there.
pub(super) fn body(results: &Results) -> Result<String, std::fmt::Error> {
    let Results { run, rows, times, notes, .. } = results;
    let mut text = format!("medians of {}\n", run.repetitions);
    if !rows.is_empty() {
        let relative = rows.iter().any(|row| row.relative.is_some());
        let relative = if relative { "  relative to a hand-written outbox (1.00)" } else { "" };
        writeln!(
            text,
            "\n{:<9} {:>7}  {:<24} {:>8} {:>9} {:>9} {:>13}{relative}",
            "database", "callers", run.scenario, "per s", "p50 µs", "p99 µs", "cpu µs us+srv"
        )?;
    }
    for (index, row) in rows.iter().enumerate() {
        let point = |row: &Row| (row.database.clone(), row.callers);
        if index > 0 && point(&rows[index - 1]) != point(row) {
            text.push('\n');
        }
        writeln!(text, "{}", line(row).trim_end())?;
    }
    if !times.is_empty() {
        writeln!(text, "\n{:<26} {:>8}", run.scenario, "seconds")?;
    }
    for time in times {
        writeln!(text, "{:<26} {:>8.3}", time.what, time.seconds)?;
    }
    if !notes.is_empty() {
        writeln!(text, "\n{}", notes.join("\n"))?;
    }
    Ok(text)
}

fn line(row: &Row) -> String {
    let numbers = row.numbers;
    let relative = row.relative.map_or_else(String::new, |relative| {
        format!("{:.2} rate, {:.2} p50, {:.2} cpu", relative.rate, relative.p50, relative.cpu)
    });
    format!(
        "{:<9} {:>7}  {:<24} {} {} {} {}{:<7} {relative}",
        row.database,
        row.callers,
        row.contestant,
        shown(numbers.per_second, 8),
        shown(numbers.p50_us, 9),
        shown(numbers.p99_us, 9),
        shown(numbers.own_cpu_us, 6),
        plus(numbers.server_cpu_us),
    )
}

fn shown(number: f64, width: usize) -> String {
    if number.is_nan() { format!("{:>width$}", "") } else { format!("{number:>width$.0}") }
}

fn plus(number: f64) -> String {
    if number.is_nan() { String::new() } else { format!("+{number:.0}") }
}
