//! Where the databases of one test are.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use services::Server;
use services::proxy::Proxy;
use sqlx::Pool;
use transactional_message::DatabaseSource;
use url::Url;
use uuid::Uuid;

use super::Dialect;

/// One test's databases, by name: each test has its own, so that tests run side by side.
pub trait Place: Clone + Debug + Send + Sync + 'static {
    /// What they speak.
    type Db: Dialect;

    /// Whether one transaction can write to several of its databases, and to those of other places.
    const ONE_SERVER: bool;

    /// A place without databases.
    fn new() -> impl Future<Output = Self>;

    /// Makes empty databases.
    fn create(&self, names: &[&str]) -> impl Future<Output = ()>;

    /// The URL of a database.
    fn url(&self, name: &str) -> String;

    /// A database, for the messenger.
    fn database(&self, name: &str) -> DatabaseSource {
        self.url(name).into()
    }

    /// The same, where business code has a pool.
    fn database_of(pool: &Pool<Self::Db>) -> DatabaseSource;

    /// A pool that connects when it must.
    fn pool(&self, name: &str, connections: u32) -> Pool<Self::Db>;

    /// The same, whose statements wait for no lock, or a second where that can't be.
    fn impatient(&self, name: &str) -> Pool<Self::Db>;
}

/// Databases of a server, which can end their sessions.
pub trait Remote: Place {
    /// Ends all sessions with this test's databases; says how many there were.
    fn cut(&self) -> impl Future<Output = u64>;
}

/// Databases of a server that a test may start for itself, and reach by another way.
pub trait Fragile: Remote {
    /// Starts a server.
    fn start() -> impl Future<Output = Server>;

    /// A place without databases on a server.
    fn on(server: &str) -> Self;

    /// The server's URL.
    fn server(&self) -> Url;

    /// The same place, with its server elsewhere.
    #[must_use]
    fn with_server(&self, server: Url) -> Self;

    /// The same place behind a proxy.
    fn behind_proxy(&self) -> impl Future<Output = (Proxy, Self)> {
        async {
            let mut server = self.server();
            let port = server.port().expect("the server's port is in its URL");
            let target = format!("{}:{port}", server.host_str().expect("a host"));
            let proxy = Proxy::new(&target, true).await.expect("a free port");
            server.set_host(Some("127.0.0.1")).expect("a host");
            server.set_port(Some(proxy.address().port())).expect("a port");
            (proxy, self.with_server(server))
        }
    }
}

/// A name in common for the databases of one test, which says when they were made. Nobody drops
/// them at the test's end, when its messengers may still be at work; [`is_left`] finds them later.
pub(super) fn fresh_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    format!("{PREFIX}{now}_{}", &Uuid::new_v4().simple().to_string()[..12])
}

const PREFIX: &str = "tm_test_";
const FORGOTTEN: Duration = Duration::from_hours(1);

/// Whether a database was left behind by an earlier run.
pub(super) fn is_left(name: &str) -> bool {
    let made = name.strip_prefix(PREFIX).and_then(|name| name.split('_').next()?.parse().ok());
    made.is_some_and(|made| UNIX_EPOCH + Duration::from_secs(made) + FORGOTTEN < SystemTime::now())
}

/// The URL of a server on which tests may do what they like.
pub(super) fn server(variable: &str, what: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "this test needs a {what} server: run `tests/run`, or `cargo run -p services -- run -- cargo test -p it`, or set \
             {variable} to the URL of one whose user may create databases"
        )
    })
}
