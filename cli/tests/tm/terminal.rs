//! Questions at a terminal.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use it::Place;

use crate::dead::Shop;

/// Longer than RabbitMQ waits for a heartbeat, twice 10 s, from one who can't send any.
const THOUGHT: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_be_thought_about_for_long() {
    let shop = Shop::new().await;
    let _messenger = shop.with_dead_letters(1).await;
    let (store, amqp) = (shop.world.place.url("store"), &shop.rabbit.url);
    let tm = env!("CARGO_BIN_EXE_tm");
    let line =
        format!("{tm} dead redrive {} --reason ink --database-url '{store}' --amqp-url '{amqp}'", shop.queue);
    // It makes the terminal.
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` is in the package bsdutils");
    // Pacing: a person thinks.
    tokio::time::sleep(THOUGHT).await;
    script.stdin.take().expect("an input").write_all(b"y\n").expect("takes it");
    let output = script.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("Go on? [y/N]") && said.contains("1 sent"), "{said}");
}
