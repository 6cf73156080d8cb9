//! Passwords in URLs, well-formed and not: in no error, no `Debug`, no log. In a binary of its own,
//! because what is logged on all threads is searched.

use std::fmt::{Debug, Display};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use transactional_message::{DatabaseSource, Messenger};

/// What must never be seen: parts of the password, as it is and percent-encoded.
const NEEDLES: [&str; 4] = ["s3cr3t", "pa55", "%733cr3t", "%73%33%63"];
const PASSWORDS: [&str; 16] = [
    "s3cr3t-pa55",
    "s3cr3t%2Dpa55",
    "%733cr3t-pa55",
    "%73%33%63%72%33%74%2D%70%61%35%35",
    "s3cr3t-pa55%",
    "s3cr3t-pa55%zz",
    "s3cr3t-pa55%ff%fe",
    "s3cr3t-pa55%00",
    "s3cr3t@pa55",
    "s3cr3t:pa55",
    "s3cr3t/pa55",
    "12/s3cr3t?pa55",
    "1#s3cr3t-pa55",
    "[s3cr3t-pa55]",
    "s3cr3t pa55\t\n",
    "s3cr3tü\u{202e}pa55",
];
const SCHEMES: [&str; 10] =
    ["postgres", "postgresql", "mysql", "mariadb", "POSTGRES", "http", "amqp", "amqps", "jdbc:mysql", ""];
/// Nobody listens on port 1.
const HOSTS: [&str; 11] = [
    "127.0.0.1:1,localhost:1",
    "127.0.0.1:1,,",
    "127.0.0.1:1",
    "[::1]:1",
    "[::1",
    "127.0.0.1:99999999",
    "127.0.0.1:-1",
    "127.0.0.1:x",
    "",
    "%ff:1",
    "127.0.0.1:1:1",
];
const TAILS: [&str; 13] = [
    "",
    "/",
    "/shop",
    "/%ff",
    "/shop?sslmode=never",
    "/shop?ssl-mode=s3cr3t-pa55",
    "/shop?password=s3cr3t-pa55",
    "/shop?pasword=s3cr3t-pa55",
    "/shop&password=s3cr3t-pa55",
    "/shop?heartbeat=s3cr3t-pa55",
    "/shop?auth_mechanism=s3cr3t-pa55",
    "/shop?sslrootcert=/nowhere/ca.pem",
    "?%ff=%ff&options=x",
];

/// A log in memory: of this crate everything, of others what is worth a warning.
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

impl Log {
    fn here() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let filter = EnvFilter::new("warn,transactional_message=trace");
            let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone());
            tracing::subscriber::set_global_default(logs.finish()).expect("is the first");
            log
        })
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("unpoisoned").clone()).expect("text")
    }
}

/// Fails where something of the password is shown.
#[track_caller]
fn search(text: &str, about: &str) {
    let lower = text.to_lowercase();
    let line = |needle: &str| lower.lines().find(|line| line.contains(needle)).map(str::to_owned);
    let found = NEEDLES.iter().find_map(|needle| line(&needle.to_lowercase()));
    assert_eq!(found, None, "{about}");
}

#[track_caller]
fn shows_nothing(value: &(impl Debug + ?Sized), url: &str) {
    search(&format!("{value:?} {value:#?}"), url);
}

#[track_caller]
fn says_nothing<E: Display + Debug>(error: &E, url: &str) {
    search(&format!("{error} {error:?} {error:#}"), url);
}

/// A database by its URL, as store and as fence.
async fn build_database(url: &str, directory: &str) {
    shows_nothing(&DatabaseSource::from(url), url);
    let builder = Messenger::builder(url);
    shows_nothing(&builder, url);
    if let Err(error) = builder.build().await {
        says_nothing(&error, url);
    }
    if cfg!(feature = "sqlite") {
        let builder = Messenger::builder(format!("sqlite://{directory}/store.db")).fence("shop", url);
        shows_nothing(&builder, url);
        if let Err(error) = builder.build().await {
            says_nothing(&error, url);
        }
    }
}

/// A broker by its URL. If it is said where that is, it is looked for there, until the log tells.
#[cfg(all(feature = "rabbitmq", feature = "sqlite"))]
async fn build_broker(url: &str, directory: &str, at: Option<SocketAddr>) {
    use transactional_message::{ExchangeKind, RabbitMq};

    let rabbitmq = RabbitMq::new(url).exchange("shop", ExchangeKind::Topic);
    shows_nothing(&rabbitmq, url);
    let builder = Messenger::builder(format!("sqlite://{directory}/store.db")).rabbitmq(rabbitmq);
    shows_nothing(&builder, url);
    let messenger = match builder.build().await {
        Ok(messenger) => messenger,
        Err(error) => return says_nothing(&error, url),
    };
    shows_nothing(&messenger, url);
    let Some(at) = at else { return };
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts without a broker");
    let told = async {
        while !Log::here().text().contains(&format!("{at}/shop")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_mins(1), told);
    told.await.expect("the log tells that there is no broker");
    messenger.shutdown(Duration::from_secs(5)).await;
}

#[cfg(not(all(feature = "rabbitmq", feature = "sqlite")))]
async fn build_broker(_: &str, _: &str, _: Option<SocketAddr>) {}

/// A server that answers everybody with `bytes`, and hangs up after the client's next word.
async fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("known");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                let _ = tokio::time::timeout(Duration::from_millis(50), client.read(&mut heard)).await;
                let _ = client.write_all(bytes).await;
                let _ = tokio::time::timeout(Duration::from_millis(200), client.read(&mut heard)).await;
            });
        }
    });
    address
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts")
}

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(from)
}

/// URLs, put together from parts that are right and parts that are not; and with a piece cut out.
fn urls() -> impl Strategy<Value = String> {
    let parts = (pick(&SCHEMES), pick(&PASSWORDS), pick(&HOSTS), pick(&TAILS));
    let cut = proptest::option::weighted(0.3, (0..40_usize, 1..6_usize));
    (parts, prop::sample::select(vec!["://", ":", ":/", "//"]), cut).prop_map(
        |((scheme, password, host, tail), between, cut)| {
            let url = format!("{scheme}{between}shop:{password}@{host}{tail}");
            let Some((at, length)) = cut else { return url };
            // Without its `@`, nobody could tell a password from a port and a path.
            let kept = |(index, c): &(usize, char)| *c == '@' || *index < at || *index >= at + length;
            url.chars().enumerate().filter(kept).map(|(_, kept)| kept).collect()
        },
    )
}

#[test]
fn a_password_is_in_no_error_no_debug_and_no_log() {
    let log = Log::here();
    let directory = tempfile::tempdir().expect("made");
    let directory = directory.path().display().to_string();
    let runtime = runtime();
    for url in SCHEMES.iter().flat_map(|scheme| {
        PASSWORDS.iter().map(move |password| format!("{scheme}://shop:{password}@127.0.0.1:1/shop"))
    }) {
        runtime.block_on(build_database(&url, &directory));
        runtime.block_on(build_broker(&url, &directory, None));
    }
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() });
    let outcome = runner.run(&urls(), |url| {
        runtime.block_on(async {
            build_database(&url, &directory).await;
            build_broker(&url, &directory, None).await;
        });
        Ok(())
    });
    outcome.expect("nothing is shown");
    search(&log.text(), "the log");
}

/// Servers that let nobody in, or talk nonsense.
#[test]
fn a_password_is_in_no_log_when_the_server_is_not_what_it_should_be() {
    let log = Log::here();
    let directory = tempfile::tempdir().expect("made");
    let directory = directory.path().display().to_string();
    runtime().block_on(async {
        let answers: [&'static [u8]; 5] = [
            b"",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            // PostgreSQL: the password in clear text, please.
            b"R\0\0\0\x08\0\0\0\x03",
            b"AMQP\0\0\x09\x01",
            &[0xff; 600],
        ];
        for answer in answers {
            let server = answering(answer).await;
            for scheme in ["postgres", "mysql"] {
                build_database(&format!("{scheme}://shop:s3cr3t-pa55@{server}/shop"), &directory).await;
            }
            let url = format!("amqp://shop:s3cr3t-pa55@{server}/shop");
            build_broker(&url, &directory, Some(server)).await;
        }
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        build_broker(&format!("amqp://shop:s3cr3t%2Dpa55@{nobody}/shop"), &directory, Some(nobody)).await;
    });
    search(&log.text(), "the log");
}
