//! Questions at a terminal.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use it::{Place, Reply, SqliteFiles, World, wait_until};
use transactional_message::MessageState;

use crate::dead::Shop;

/// Runs `tm` at a terminal, and answers its question after a while. Says what was seen there.
async fn answered(arguments: &str, answer: &str, after: Duration) -> String {
    let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_tm"));
    // It makes the terminal.
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` is in the package bsdutils");
    // Pacing: that this time passes is what is tested; there is nothing to be seen meanwhile.
    tokio::time::sleep(after).await;
    let mut keyboard = script.stdin.take().expect("an input");
    keyboard.write_all(answer.as_bytes()).expect("takes it");
    drop(keyboard);
    let output = script.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// RabbitMQ waits for a heartbeat for twice 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_be_thought_about_for_longer_than_a_broker_waits() {
    let shop = Shop::new().await;
    let _messenger = shop.with_dead_letters(1).await;
    let (store, amqp) = (shop.world.place.url("store"), &shop.rabbit.url);
    let redrive =
        format!("dead redrive {} --reason ink --database-url '{store}' --amqp-url '{amqp}'", shop.queue);
    let said = answered(&redrive, "y\n", Duration::from_secs(25)).await;
    assert!(said.contains("Go on? [y/N]") && said.contains("1 sent"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_be_thought_about_for_longer_than_an_answer_may_take() {
    let world = World::<SqliteFiles>::new().await;
    let messenger = world.messenger().await;
    world.oracle.say(1, [Reply::Hang]);
    world.vanish(&messenger, 1).await;
    wait_until("somebody to be asked", async || !world.oracle.questions().is_empty()).await;
    let half = messenger.admin().list(MessageState::Half, None, 1).await.expect("lists").remove(0).id;
    messenger.shutdown(Duration::ZERO).await;
    it::run(&world.store(), "UPDATE tm_message SET held_by = NULL").await.expect("is given back");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tm.toml");
    let context =
        format!("[context.live]\ndatabase_url = '{}'\nproduction = true\n", world.place.url("store"));
    fs::write(&file, context).expect("writes");
    let ask =
        format!("ask {half} --apply --reason x --timeout 5s --context live --config {}", file.display());
    let said = answered(&ask, "live\n", Duration::from_secs(8)).await;
    assert!(said.contains("Type the name of the context, `live`") && said.contains("is due now"), "{said}");
}
