//! Whatever is logged while a message is handled, or asked about, says which one it is. In a binary of its own, because the
//! log is the process's.
#![cfg(feature = "testing")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::SqliteConnection;
use tracing_subscriber::fmt::MakeWriter;
use transactional_message::{
    Backoff, Call, Consumer, HalfMessage, Message, MessageState, Messenger, Outcome, RawPayload, Received,
    Settings,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn line(&self, text: &str) -> String {
        let log = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text");
        log.lines()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("no `{text}` in:\n{log}"))
            .to_owned()
    }
}

async fn book(_: &mut SqliteConnection, _: Received) -> Result<(), BoxError> {
    tracing::info!("a voucher is booked");
    Ok(())
}

async fn ask(_: HalfMessage<RawPayload>) -> Result<Outcome, BoxError> {
    tracing::info!("the carrier is asked");
    Ok(Outcome::Confirm)
}

#[tokio::test]
async fn each_line_of_a_handler_names_its_message() {
    let log = Log::default();
    tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).init();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let db = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("opens");
    let soon = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    let settings = Settings::default()
        .lease(Duration::from_millis(500))
        .check_after(Duration::ZERO)
        .check_back_backoff(soon)
        .poll_interval(Duration::from_millis(20));
    let messenger = Messenger::builder(url.as_str())
        .settings(settings)
        .check_back("carrier", ask)
        .consumer(Consumer::new("accounting", db.clone(), book).bind("shop", "#"))
        .build()
        .await
        .expect("builds");
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");

    // A call whose future is dropped is asked about.
    let message = Message::bytes("shop", "order.sent", "text/plain", "one");
    let call = Call::new("ship").message(message).check_back("carrier");
    let (reached, wait) = tokio::sync::oneshot::channel();
    let body = async {
        reached.send(()).expect("waits");
        std::future::pending::<Result<(), BoxError>>().await
    };
    tokio::select! {
        ended = messenger.call(call, body) => panic!("it hangs: {ended:?}"),
        reached = wait => reached.expect("gets there"),
    }
    let delivered = tokio::time::timeout(Duration::from_mins(1), async {
        while messenger.stats().await.expect("counts").delivered == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    delivered.await.expect("is delivered");
    let info = messenger.admin().list(MessageState::Delivered, None, 1).await.expect("lists").remove(0);
    let asked = log.line("the carrier is asked");
    let check_back = format!("message.id={} call.id={}", info.id, info.call_id);
    assert!(asked.contains("check_back{") && asked.contains(&check_back), "{asked}");
    assert!(asked.contains("questions=1"), "{asked}");
    let booked = log.line("a voucher is booked");
    let process = format!("message.id={} queue=\"accounting\" attempt=1", info.id);
    assert!(booked.contains("process{") && booked.contains(&process), "{booked}");
    assert!(messenger.shutdown(Duration::from_secs(20)).await);
}
