#!/usr/bin/env bash
# Guessed: with a filter for each layer of tracing-subscriber, one for the log and one for traces, a span is made if one of them
#       wants it.
# Seen: tracing-subscriber 0.3.23 loses the span that comes next after `log::log_enabled!` was asked about something that the
#       filters leave out, for all layers. sqlx asks that after every statement, so consumers' traces have holes, and log lines lack
#       their message's id. With one filter for all layers, nothing is lost (tokio-rs/tracing#2519).
#
# Needs Rust and a C compiler. Exits with 1 if tracing-subscriber behaves otherwise.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf -- "$T"' EXIT
mkdir "$T/src"
cat >"$T/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
log = "0.4"
tracing = "=0.1.44"
tracing-subscriber = { version = "=0.3.23", features = ["env-filter"] }

[workspace]
TOML
cat >"$T/src/main.rs" <<'RUST'
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

fn main() {
    let filter = || EnvFilter::new("info,finding=debug");
    // Each span that is made is a line.
    if std::env::args().any(|argument| argument == "each") {
        registry().with(fmt::layer().with_span_events(FmtSpan::NEW).with_filter(filter())).init();
    } else {
        registry().with(filter()).with(fmt::layer().with_span_events(FmtSpan::NEW)).init();
    }
    for _ in 0..2 {
        // As sqlx asks after each statement.
        let _ = log::log_enabled!(target: "sqlx::query", log::Level::Debug);
        tracing::info_span!("process");
    }
}
RUST
cargo build -q --manifest-path "$T/Cargo.toml" --target-dir "$T/target"
EACH=$("$T/target/debug/finding" each | wc -l)
ONE=$("$T/target/debug/finding" one | wc -l)
echo "of 2 spans are made: $EACH with a filter for each layer, $ONE with one for all"
[ "$EACH" -lt 2 ] && [ "$ONE" -eq 2 ]
