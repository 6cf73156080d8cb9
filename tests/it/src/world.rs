//! One test's databases, and messengers over them.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;
use transactional_message::{Backoff, Builder, Consumer, MessageId, Messenger, Settings, State, begin};

use crate::{Listener, Oracle, Order, ShopError, fenced, handled, order, vanish, wait_until};

/// One test's directory: the business database, the consumers' database, the message store.
#[derive(Debug)]
pub struct World {
    directory: TempDir,
    /// The business database, with the table `orders`.
    pub shop: SqlitePool,
    /// The consumers' database, with the table `effects`.
    pub books: SqlitePool,
    /// What handlers answer.
    pub oracle: Oracle,
    /// What the consumer heard.
    pub listener: Listener,
}

/// Settings for a test: what is due is done soon, and nothing but the lease is tight.
pub fn fast() -> Settings {
    let soon = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    Settings {
        lease: Duration::from_secs(1),
        half_timeout: Duration::from_secs(20),
        check_after: Duration::from_millis(50),
        check_back_backoff: soon,
        fence_lock_timeout: Duration::from_millis(50),
        delivery_backoff: soon,
        poll_interval: Duration::from_millis(20),
        report_backoff: soon,
        ..Settings::default()
    }
}

impl World {
    /// With the store in a file of its own.
    pub async fn new() -> Self {
        Self::with_connections(4).await
    }

    /// With a business pool of this many connections.
    pub async fn with_connections(connections: u32) -> Self {
        let directory = TempDir::new().expect("a directory");
        let open = |name: &str, connections| {
            let options = SqliteConnectOptions::new()
                .filename(directory.path().join(name))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .busy_timeout(Duration::from_secs(20));
            SqlitePoolOptions::new().max_connections(connections).connect_with(options)
        };
        let shop = open("shop.db", connections).await.expect("opens");
        let books = open("books.db", 4).await.expect("opens");
        // So that tests whose processes start at once are about something else.
        open("store.db", 1).await.expect("opens").close().await;
        sqlx::raw_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, message_id BLOB)")
            .execute(&shop)
            .await
            .expect("creates");
        sqlx::raw_sql(
            "CREATE TABLE effects (queue TEXT, message_id BLOB, body TEXT);
             CREATE TABLE unique_effects (id INTEGER PRIMARY KEY)",
        )
        .execute(&books)
        .await
        .expect("creates");
        let (oracle, listener) = (Oracle::default(), Listener::new("books"));
        Self { directory, shop, books, oracle, listener }
    }

    /// A file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The URL of a database in the directory.
    pub fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.file(name).display())
    }

    /// A connection to the message store, to look at it or to age it.
    pub async fn store(&self) -> SqlitePool {
        SqlitePool::connect(&self.url("store.db")).await.expect("opens")
    }

    /// A messenger without consumers, on the store in a file of its own.
    pub fn builder(&self) -> Builder {
        self.builder_on("store.db")
    }

    /// The same, on another store.
    pub fn builder_on(&self, store: &str) -> Builder {
        Messenger::builder(self.url(store))
            .settings(fast())
            .data(self.oracle.clone())
            .fence("orders", &self.shop)
    }

    /// A consumer of everything that is sent to the shop.
    pub fn consumer(&self) -> Consumer {
        self.consumer_named("books", &self.listener)
    }

    /// The same with another queue, and who listens there.
    pub fn consumer_named(&self, queue: &str, listener: &Listener) -> Consumer {
        Consumer::new(queue, self.books.clone(), listener.clone()).bind("shop", "#")
    }

    /// A listener at another queue.
    pub fn another_listener(queue: &str) -> Listener {
        Listener::new(queue)
    }

    /// Builds, migrates and starts.
    pub async fn start(builder: Builder) -> Messenger {
        let messenger = builder.build().await.expect("builds");
        messenger.migrate().await.expect("migrates");
        messenger.start().await.expect("starts");
        messenger
    }

    /// A running messenger with the consumer.
    pub async fn messenger(&self) -> Messenger {
        self.messenger_with(fast()).await
    }

    /// The same, with other settings.
    pub async fn messenger_with(&self, settings: Settings) -> Messenger {
        Self::start(self.builder().settings(settings).consumer(self.consumer())).await
    }

    /// A fenced call that does its work.
    pub async fn pay(&self, messenger: &Messenger, id: u64) -> Result<(), ShopError> {
        let body = async {
            let mut tx = begin(&self.shop).await?;
            write(&mut *tx, id).await?;
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(id), body).await }).await
    }

    /// A handled call that does its work.
    pub async fn handle(&self, messenger: &Messenger, id: u64) -> Result<(), ShopError> {
        messenger.scope(async { handled(&order(id), async { Ok(()) }).await }).await
    }

    /// A handled call whose body panics.
    pub async fn vanish(&self, messenger: &Messenger, id: u64) {
        let body = async { panic!("on purpose: {id}") };
        vanish(messenger.scope(async { handled::<()>(&order(id), body).await })).await;
    }

    /// Waits until no message is undecided or on its way.
    pub async fn settled(&self, messenger: &Messenger) {
        wait_until("every message to be settled", async || {
            let stats = messenger.stats().await.expect("counts");
            stats.half == 0 && stats.confirmed == 0
        })
        .await;
    }

    /// Waits until there are `count` messages in `state`.
    pub async fn count(&self, messenger: &Messenger, state: State, count: u64) {
        wait_until(&format!("{count} messages to be {state}"), async || {
            messenger.stats().await.expect("counts").count(state) == count
        })
        .await;
    }

    /// The ids of the orders that the business database has.
    pub async fn orders(&self) -> Vec<u64> {
        let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM orders ORDER BY id")
            .fetch_all(&self.shop)
            .await
            .expect("reads");
        ids.into_iter().map(i64::unsigned_abs).collect()
    }

    /// How many effects a message had at the queue `books`.
    pub async fn effects(&self, id: MessageId) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM effects WHERE queue = 'books' AND message_id = ?")
            .bind(id)
            .fetch_one(&self.books)
            .await
            .expect("counts")
    }

    /// The numbers of the orders that had an effect, sorted, each as often as it had one.
    pub async fn effects_of_orders(&self) -> Vec<u64> {
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM effects").fetch_all(&self.books).await.expect("reads");
        let order = |body: &String| serde_json::from_str::<Order>(body).expect("an order").id;
        let mut orders: Vec<_> = bodies.iter().map(order).collect();
        orders.sort_unstable();
        orders
    }

    /// How many effects there were, in all queues.
    pub async fn all_effects(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(&self.books).await.expect("counts")
    }

    /// What the fence rows say, by number: 1 committed, 2 tombstone, 3 withheld.
    pub async fn fences(&self, outcome: i64) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM tm_fence WHERE outcome = ?")
            .bind(outcome)
            .fetch_one(&self.shop)
            .await
            .expect("counts")
    }
}

/// Writes the business row of an order, on a connection or a pool.
pub async fn write<'e, E>(on: E, id: u64) -> Result<(), sqlx::Error>
where
    E: sqlx::Executor<'e, Database = sqlx::Sqlite>,
{
    sqlx::query("INSERT INTO orders (id, message_id) VALUES (?, ?)")
        .bind(id.cast_signed())
        .bind(transactional_message::message_id())
        .execute(on)
        .await?;
    Ok(())
}
