//! One test's databases, and messengers over them.

use std::time::Duration;

use sqlx::Pool;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{
    Backoff, Consumer, MessageId, MessageState, Messenger, MessengerBuilder, Settings, begin,
};

use crate::databases::{Connection, Dialect, Place, number, numbers, run, texts, write};
use crate::{
    Log, Order, Outage, ScriptedConsumer, ScriptedHandler, ShopError, counted, fenced, handled, order,
    vanish, wait_until,
};

/// One test's databases: `shop`, the business database; `books`, the consumers'; `store`, the
/// message store.
#[derive(Debug)]
pub struct World<P: Place> {
    /// Where they are.
    pub place: P,
    /// The business database, with the table `orders`.
    pub shop: Pool<P::Db>,
    /// The consumers' database, with the table `effects`.
    pub books: Pool<P::Db>,
    /// What handlers answer.
    pub oracle: ScriptedHandler,
    /// What the consumer heard.
    pub listener: ScriptedConsumer,
}

/// Settings for a test: what is due is done soon, and nothing but the lease is tight.
pub fn fast() -> Settings {
    let soon = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    Settings::default()
        .lease(Duration::from_secs(1))
        .half_timeout(Duration::from_secs(20))
        .check_after(Duration::from_millis(50))
        .check_back_backoff(soon)
        .fence_lock_timeout(Duration::from_millis(50))
        .delivery_backoff(soon)
        .poll_interval(Duration::from_millis(20))
        .report_backoff(soon)
}

impl<P: Place> World<P> {
    /// With business tables, and nothing else in it.
    pub async fn new() -> Self {
        Self::with_connections(4).await
    }

    /// With a business pool of this many connections.
    pub async fn with_connections(connections: u32) -> Self {
        Self::at(P::new().await, connections).await
    }

    /// The same in a place that is known already.
    pub async fn at(place: P, connections: u32) -> Self {
        place.create(&["shop", "books", "store"]).await;
        let (shop, books) = (place.pool("shop", connections), place.pool("books", 4));
        run(&shop, P::Db::SHOP).await.expect("creates");
        run(&books, P::Db::BOOKS).await.expect("creates");
        let (oracle, listener) = (ScriptedHandler::default(), ScriptedConsumer::new("books"));
        Self { place, shop, books, oracle, listener }
    }

    /// The same place for a [`Process`](crate::Process), which must have pools of its own: a connection
    /// stands still, and dies, with the runtime that opened it.
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        Self {
            place: self.place.clone(),
            shop: self.place.pool("shop", self.shop.options().get_max_connections()),
            books: self.place.pool("books", 4),
            oracle: self.oracle.clone(),
            listener: self.listener.clone(),
        }
    }

    /// A pool for the message store, to look at it or to age it.
    pub fn store(&self) -> Pool<P::Db> {
        self.place.pool("store", 4)
    }

    /// A messenger without consumers, on the store in a database of its own.
    pub fn builder(&self) -> MessengerBuilder {
        self.builder_on("store")
    }

    /// The same, on another store.
    pub fn builder_on(&self, store: &str) -> MessengerBuilder {
        Messenger::builder(self.place.database(store))
            .settings(fast())
            .data(self.oracle.clone())
            .fence("orders", P::database_of(&self.shop))
    }

    /// A consumer of everything that is sent to the shop.
    pub fn consumer(&self) -> Consumer {
        self.consumer_named("books", &self.listener)
    }

    /// The same with another queue, and who listens there.
    pub fn consumer_named(&self, queue: &str, listener: &ScriptedConsumer) -> Consumer {
        P::Db::consumer(queue, self.books.clone(), listener.clone()).bind("shop", "#")
    }

    /// A listener at another queue.
    pub fn another_listener(queue: &str) -> ScriptedConsumer {
        ScriptedConsumer::new(queue)
    }

    /// Builds, migrates and starts.
    pub async fn start(builder: MessengerBuilder) -> Messenger {
        let messenger = builder.build().await.expect("builds");
        messenger.migrate().await.expect("migrates");
        messenger.start().await.expect("starts");
        messenger
    }

    /// The same, for a process that will stand still: its janitor has had its round. One that stood still in the middle
    /// of that would lock a SQLite file for all others.
    pub async fn start_to_stand_still(builder: MessengerBuilder) -> Messenger {
        let (log, _guard) = Log::listen(LevelFilter::DEBUG);
        let messenger = Self::start(builder.settings(fast().janitor_interval(Duration::from_hours(1)))).await;
        wait_until("the janitor to have had its round", async || {
            !log.lines_with(&["a round of the janitor"]).is_empty()
        })
        .await;
        messenger
    }

    /// Shuts down, and nobody takes the process for alive any more. It withdraws itself only as long as that takes no time:
    /// on a busy machine, what it could not take back is taken back here.
    pub async fn shut_down(&self, messenger: &Messenger) {
        assert!(messenger.shutdown(Duration::from_hours(1)).await, "shuts down in time");
        run(&self.store(), "DELETE FROM tm_process").await.expect("withdraws");
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
            write::<P::Db>(&mut tx, id).await?;
            Ok(tx.commit().await?)
        };
        messenger.scope(async { fenced(&order(id), body).await }).await
    }

    /// A handled call that does its work.
    pub async fn handle(&self, messenger: &Messenger, id: u64) -> Result<(), ShopError> {
        messenger.scope(async { handled(&order(id), async { Ok(()) }).await }).await
    }

    /// A fenced call that commits and returns an error all the same: its fence is asked at once, by the process that
    /// ran it.
    pub async fn commit_and_decline(&self, messenger: &Messenger, id: u64) {
        let body = async {
            begin(&self.shop).await?.commit().await?;
            Err(ShopError::Declined)
        };
        messenger.scope(async { fenced::<()>(&order(id), body).await }).await.expect_err("declined");
    }

    /// A handled call whose body panics.
    pub async fn vanish(&self, messenger: &Messenger, id: u64) {
        let body = async { panic!("on purpose: {id}") };
        vanish(messenger.scope(async { handled::<()>(&order(id), body).await })).await;
    }

    /// Waits until no message is undecided or on its way.
    pub async fn settled(&self, messenger: &Messenger) {
        wait_until("every message to be settled", async || {
            counted(messenger).await.is_some_and(|stats| stats.half == 0 && stats.confirmed == 0)
        })
        .await;
    }

    /// Waits until there are `count` messages in `state`.
    pub async fn count(&self, messenger: &Messenger, state: MessageState, count: u64) {
        wait_until(&format!("{count} messages to be {state}"), async || {
            counted(messenger).await.is_some_and(|stats| stats.count(state) == count)
        })
        .await;
    }

    /// Writes the business row of an order, in the body of its call.
    pub async fn write(connection: &mut Connection<P::Db>, id: u64) -> Result<(), sqlx::Error> {
        write::<P::Db>(connection, id).await
    }

    /// Nobody can write to one of the databases any more.
    pub async fn outage(&self, name: &str) -> Outage<P> {
        Outage::of(&self.place, name).await
    }

    /// Nobody can do anything with the store any more.
    pub async fn outage_without_table(&self) -> Outage<P> {
        Outage::without_table(&self.place).await
    }

    /// The ids of the orders that the business database has.
    pub async fn orders(&self) -> Vec<u64> {
        ids(numbers(&self.shop, "SELECT id FROM orders ORDER BY id").await)
    }

    /// Those that calls wrote.
    pub async fn orders_of_calls(&self) -> Vec<u64> {
        let sql = "SELECT id FROM orders WHERE message_id IS NOT NULL ORDER BY id";
        ids(numbers(&self.shop, sql).await)
    }

    /// No connection of the business pool has a transaction open: what each inserts is there for
    /// others, who can write, too.
    pub async fn shop_is_clean(&self) {
        let others = self.place.pool("shop", 1);
        let mut all = Vec::new();
        for _ in 0..self.shop.options().get_max_connections() {
            all.push(self.shop.acquire().await.expect("acquires"));
        }
        for connection in &mut all {
            P::Db::run(connection, "INSERT INTO orders (id) VALUES (-1)").await.expect("inserts");
            let deleted = run(&others, "DELETE FROM orders WHERE id = -1").await.expect("deletes");
            assert_eq!(deleted, 1, "an insert by the connection's next borrower was not committed");
        }
    }

    /// How many effects a message had at the queue `books`.
    pub async fn effects(&self, id: MessageId) -> i64 {
        let id = P::Db::id(id);
        let sql = format!("SELECT count(*) FROM effects WHERE queue = 'books' AND message_id = {id}");
        number(&self.books, sql).await
    }

    /// The numbers of the orders that had an effect, sorted, each as often as it had one.
    pub async fn effects_of_orders(&self) -> Vec<u64> {
        let bodies = texts(&self.books, "SELECT body FROM effects").await;
        let order = |body: &String| serde_json::from_str::<Order>(body).expect("an order").id;
        let mut orders: Vec<_> = bodies.iter().map(order).collect();
        orders.sort_unstable();
        orders
    }

    /// How many effects there were, in all queues.
    pub async fn all_effects(&self) -> i64 {
        number(&self.books, "SELECT count(*) FROM effects").await
    }

    /// What the fence rows say, by number: 1 committed, 2 tombstone, 3 withheld.
    pub async fn fences(&self, outcome: i64) -> i64 {
        number(&self.shop, format!("SELECT count(*) FROM tm_fence WHERE outcome = {outcome}")).await
    }
}

fn ids(numbers: Vec<i64>) -> Vec<u64> {
    numbers.into_iter().map(i64::unsigned_abs).collect()
}
