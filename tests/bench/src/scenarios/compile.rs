//! `compile`: 500 functions, bare, with `#[tracing::instrument]`, and annotated: how long `cargo check`
//! takes, and how large the program is.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::options::{Options, scratch};
use crate::report::Report;
use crate::report::machine::LOCK;

const FUNCTIONS: u32 = 500;
const QUICK: u32 = 5;
const VARIANTS: [(&str, &str); 3] = [
    ("bare", ""),
    ("instrument", "#[tracing::instrument(skip_all, fields(order, cents), err)]"),
    (
        "annotated",
        "#[transactional_message::transactional_message(exchange = \"orders\", routing_key = \"order.paid\", fence, \
         message = OrderPaid { order, cents })]",
    ),
];

pub(crate) fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = scratch()?.join("compile");
    let functions = options.rows(FUNCTIONS, QUICK);
    for (name, attribute) in VARIANTS {
        write(&folder.join(name), name, attribute, functions)?;
        // What they depend on isn't counted.
        cargo(&folder, name, &["check"])?;
    }
    for repetition in 1..=options.repetitions(5) {
        for (name, _) in VARIANTS {
            let source = folder.join(name).join("src/main.rs");
            fs::write(&source, fs::read(&source)?)?;
            let took = cargo(&folder, name, &["check"])?;
            report.took(name, took);
            report.progress(&format!("{repetition}. {name}: {took:.2?}"));
        }
    }
    let added = |name| (report.time(name) - report.time("bare")) * 1e6 / f64::from(functions);
    let (instrument, annotated) = (added("instrument"), added("annotated"));
    report.note(&format!(
        "added to `cargo check` a function: instrument {instrument:.0} µs, annotated {annotated:.0} µs"
    ));
    let ratio = annotated / instrument;
    let goal = "time added to `cargo check` a function ≤ 1 × `#[tracing::instrument]`";
    report.goal(goal, ratio, ratio <= 1.0);
    // What they depend on takes a minute to compile.
    if options.quick { Ok(()) } else { sizes(&folder, report) }
}

/// Prints what a function adds to the program.
fn sizes(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for (name, _) in VARIANTS {
        cargo(folder, name, &["build", "--release"])?;
        bytes.push(fs::metadata(folder.join("target/release").join(name))?.len());
    }
    report.note("\nsize of the program, release, stripped");
    for ((name, _), size) in VARIANTS.iter().zip(&bytes) {
        let added = (*size as f64 - bytes[0] as f64) / f64::from(FUNCTIONS);
        report.note(&format!("{name:<12} {size:>10} bytes, {added:>7.0} a function"));
    }
    Ok(())
}

/// A program of its own, whose functions all can be called.
fn write(folder: &Path, name: &str, attribute: &str, functions: u32) -> anyhow::Result<()> {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime");
    let manifest = format!(
        "[workspace]\n[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt\", \"time\"] }}\ntracing = \"0.1\"\n\
         transactional-message = {{ path = \"{}\", default-features = false }}\n\
         [profile.release]\nstrip = true\n",
        runtime.canonicalize()?.display()
    );
    let mut source = String::from(
        "//! Generated.\n\npub type BoxError = Box<dyn std::error::Error + Send + Sync>;\n\n\
         #[derive(serde::Serialize)]\npub struct OrderPaid<'a> {\n    pub order: &'a str,\n    pub cents: i64,\n}\n\n",
    );
    for n in 0..functions {
        write!(
            source,
            "{attribute}\npub async fn pay_{n}(order: &str, cents: i64) -> Result<i64, BoxError> {{\n    \
             tokio::time::sleep(std::time::Duration::from_millis({n})).await;\n    \
             if order.is_empty() {{\n        return Err(\"no order\".into());\n    }}\n    Ok(cents + {n})\n}}\n\n"
        )?;
    }
    source.push_str("#[tokio::main(flavor = \"current_thread\")]\nasync fn main() {\n");
    source.push_str("    let which = std::env::args().count();\n    let paid = match which {\n");
    for n in 0..functions {
        writeln!(source, "        {n} => pay_{n}(\"order\", 1).await,")?;
    }
    source.push_str("        _ => Ok(0),\n    };\n    println!(\"{paid:?}\");\n}\n");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    // The versions that the report names, and none from the network.
    fs::write(folder.join("Cargo.lock"), LOCK)?;
    fs::write(folder.join("src/main.rs"), source)?;
    Ok(())
}

/// Runs cargo on one of them, and says how long that took.
fn cargo(folder: &Path, name: &str, arguments: &[&str]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new("cargo");
    command.args(arguments).args(["--quiet", "--manifest-path"]).arg(folder.join(name).join("Cargo.toml"));
    let output = command.arg("--target-dir").arg(folder.join("target")).output().context("running cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`cargo {}` of `{name}` failed:\n{errors}", arguments.join(" "));
    Ok(began.elapsed())
}
