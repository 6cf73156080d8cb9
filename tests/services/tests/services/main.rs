//! The servers can be harmed as the tests harm them, and leave nothing behind.

mod mariadb;
mod postgres;
mod rabbitmq;
mod run;

use std::process::Stdio;
use std::time::{Duration, Instant};

use services::Server;
use tokio::process::Command;

/// A bound on a hang, no measure.
const LIMIT: Duration = Duration::from_secs(30);
/// How long somebody may be silent who doesn't stand still.
const SILENCE: Duration = Duration::from_millis(500);

/// Runs a client, and returns what it printed, or its complaint.
async fn client(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8").trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `ask` gets no answer while the server stands still, and one when it goes on.
async fn stands_still_and_goes_on<T>(server: &Server, ask: impl AsyncFn() -> T) {
    server.pause().expect("it runs");
    assert!(tokio::time::timeout(SILENCE, ask()).await.is_err(), "an answer from a server that stands still");
    server.resume().expect("it runs");
    tokio::time::timeout(LIMIT, ask()).await.expect("an answer from a server that goes on");
}

fn listens(server: &Server) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", server.port())).is_ok()
}

/// Stops it, and looks for what could be left.
async fn stops(server: &Server) {
    server.stop().expect("stopped");
    assert!(!listens(server) && !server.directory().exists(), "something is left");
    let error = server.start_again().await.expect_err("it is gone");
    assert!(error.to_string().contains("was stopped; its data is gone"), "{error:#}");
}
