//! What must never be written to a log: payloads, header values.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use it::{Act, Connection, Order, ShopError, fast};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use transactional_message::{AnsweredBy, Consumer, Message, Messenger, Received, Settings, State};

use crate::{Db, World};

/// What is in every payload and header here.
const SECRET: &str = "s3cr3t";

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Takes only orders.
async fn orders(_: &mut Connection<Db>, _: Received<Order>) -> Result<(), String> {
    Ok(())
}

async fn send(messenger: &Messenger, exchange: &str, body: String) {
    let message = Message::bytes(exchange, "x", "application/json", body).header("private", SECRET);
    let handler = AnsweredBy::Handler("it.handled".into());
    let ended: Result<(), ShopError> = messenger.call(handler, [message], async { Ok(()) }).await;
    ended.expect("ok");
}

/// Everything that is logged, at the lowest level, when messages are delivered, fail, can't be
/// decoded and find nobody, and when a handler can't read what it is asked about.
#[tokio::test]
async fn payloads_are_in_no_log_and_no_reason() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(log.clone()).finish();
    // The runtime has one thread, and so have its tasks.
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    let settings = Settings { delivery_attempts: 3, check_back_attempts: 2, ..fast() };
    let typed = Consumer::new("typed", world.books.clone(), orders).bind("shop", "#");
    let messenger = World::start(
        world.builder().settings(settings).consumer(world.consumer().attempts(2)).consumer(typed),
    )
    .await;
    world.listener.will(1, [Act::Fail, Act::Fail]);
    send(&messenger, "shop", format!("{{\"id\": 1, \"note\": \"{SECRET}\"}}")).await;
    send(&messenger, "shop", format!("{{\"id\": \"{SECRET}\"}}")).await;
    send(&messenger, "nowhere", format!("\"{SECRET}\"")).await;
    let body = Message::bytes("shop", "x", "application/json", format!("\"{SECRET}\""));
    let handler = AnsweredBy::Handler("it.handled".into());
    let vanished = async { panic!("on purpose") };
    it::vanish(messenger.call::<(), ShopError, _>(handler, [body], vanished)).await;
    world.count(&messenger, State::Parked, 1).await;
    world.settled(&messenger).await;

    let logged = String::from_utf8(log.0.lock().expect("unpoisoned").clone()).expect("text");
    assert!(logged.contains("can't be delivered"), "what is searched is a log");
    assert!(
        !logged.contains(SECRET),
        "{}",
        logged.lines().find(|line| line.contains(SECRET)).unwrap_or_default()
    );
    for state in State::ALL {
        for message in messenger.list(state, None, 100).await.expect("lists") {
            assert!(!format!("{message:?}").contains(SECRET), "{message:?}");
        }
    }
}
