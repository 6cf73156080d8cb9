//! Several services over one store: each answers for its own messages and delivers them, and only fences answer
//! for everybody.

use std::time::Duration;

use it::AnsweredBy;
use it::{
    Dialect, Log, Process, Reply, ScriptedConsumer, ScriptedHandler, ShopError, ask, fast, fenced, handled,
    order,
};
use it::{numbers, run, texts, wait_until};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Message, MessageState, Messenger, MessengerBuilder, begin};

use super::by_hand::scripts;
use crate::{Db, World};

/// A service with an oracle and consumers of its own.
struct Service {
    oracle: ScriptedHandler,
    listener: ScriptedConsumer,
    name: &'static str,
}

impl Service {
    fn new(name: &'static str) -> Self {
        Self { oracle: ScriptedHandler::default(), listener: World::another_listener(name), name }
    }

    fn builder(&self, world: &World) -> MessengerBuilder {
        let consumer = world.consumer_named(self.name, &self.listener);
        world.builder().data(self.oracle.clone()).check_back("pay", ask).service(self.name).consumer(consumer)
    }

    async fn start(&self, world: &World) -> Messenger {
        World::start(self.builder(world)).await
    }

    /// A process of the service dies in the body of a call that the handler `pay` answers for.
    async fn dies(&self, world: &World, id: u64) {
        self.dies_in(world, async move |messenger: Messenger, reached: tokio::sync::oneshot::Sender<()>| {
            let body = async {
                reached.send(()).expect("waits");
                std::future::pending().await
            };
            let message = Message::json("shop", "order.pay", &order(id)).expect("encodes");
            let pay = AnsweredBy::Handler("pay".into());
            let _: Result<(), ShopError> = messenger.call(it::call(pay, [message]), body).await;
        })
        .await;
    }

    /// A process of the service dies in the body of a fenced call that has committed.
    async fn dies_committed(&self, world: &World, id: u64) {
        let shop = world.elsewhere().shop;
        self.dies_in(world, async move |messenger: Messenger, reached: tokio::sync::oneshot::Sender<()>| {
            let body = async {
                begin(&shop).await?.commit().await?;
                reached.send(()).expect("waits");
                std::future::pending().await
            };
            let _: Result<(), ShopError> = messenger.scope(async { fenced(&order(id), body).await }).await;
        })
        .await;
    }

    async fn dies_in<F>(&self, world: &World, call: F)
    where
        F: AsyncFnOnce(Messenger, tokio::sync::oneshot::Sender<()>) + Send + 'static,
    {
        let builder = self.builder(&world.elsewhere());
        let (reached, wait) = tokio::sync::oneshot::channel();
        let process = Process::start(move || async move { call(World::start(builder).await, reached).await });
        wait.await.expect("gets there");
        process.kill().await;
    }
}

async fn info(messenger: &Messenger, state: MessageState) -> Vec<(String, String, u32)> {
    let messages = messenger.admin().list(state, None, 10).await.expect("lists");
    messages.into_iter().map(|message| (message.service, message.answered_by, message.attempts)).collect()
}

#[tokio::test]
async fn a_service_is_not_asked_about_another_ones_calls() {
    let world = World::new().await;
    let (orders, billing) = (Service::new("orders"), Service::new("billing"));
    let other = billing.start(&world).await;
    billing.oracle.say(1, [Reply::Cancel]);
    orders.dies(&world, 1).await;
    // Its own call, which dies later, is settled: by then the other one's lease has lapsed, too.
    billing.oracle.say(2, [Reply::Confirm]);
    billing.dies(&world, 2).await;
    world.count(&other, MessageState::Delivered, 1).await;
    assert_eq!(info(&other, MessageState::Half).await, [("orders".to_owned(), "handler:pay".to_owned(), 0)]);
    assert!(billing.oracle.asked(1).is_empty(), "a stranger was asked, and said Cancel");

    orders.oracle.say(1, [Reply::Confirm]);
    let own = orders.start(&world).await;
    world.settled(&own).await;
    assert_eq!((orders.listener.orders(), billing.listener.orders()), (vec![1], vec![2]));
    assert_eq!(orders.oracle.asked(1).len(), 1);
}

#[tokio::test]
async fn whoever_has_the_fence_settles_and_only_the_service_delivers() {
    let world = World::new().await;
    let (orders, billing) = (Service::new("orders"), Service::new("billing"));
    orders.dies_committed(&world, 1).await;
    let other = billing.start(&world).await;
    world.count(&other, MessageState::Confirmed, 1).await;
    // One through its relay's memory, and one that it settled: both after the first.
    world.handle(&other, 2).await.expect("ok");
    billing.dies_committed(&world, 3).await;
    world.count(&other, MessageState::Delivered, 2).await;
    assert_eq!(billing.listener.orders(), [2, 3], "the other one's message is not its own");
    let (service, answered_by, attempts) = info(&other, MessageState::Confirmed).await.remove(0);
    assert!(
        service == "orders" && answered_by.starts_with("fence:") && attempts == 0,
        "{answered_by} {attempts}"
    );

    let own = orders.start(&world).await;
    world.settled(&own).await;
    assert_eq!((orders.listener.orders(), billing.listener.orders()), (vec![1], vec![2, 3]));
}

#[tokio::test]
async fn a_process_without_a_name_is_a_service_like_others() {
    let world = World::new().await;
    let nameless = world.messenger().await;
    let orders = Service::new("orders");
    let named = orders.start(&world).await;
    for id in 0..20 {
        world.handle(if id % 2 == 0 { &nameless } else { &named }, id).await.expect("ok");
    }
    world.settled(&named).await;
    assert_eq!(world.listener.orders(), (0..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(orders.listener.orders(), (1..20).step_by(2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_renamed_service_takes_over_its_old_name() {
    let world = World::new().await;
    let (old, new) = (Service::new("shop"), Service::new("orders"));
    old.dies(&world, 1).await;
    old.dies_committed(&world, 2).await;
    let undelivered = fast().deliver(false);
    let nameless = World::start(world.builder().settings(undelivered)).await;
    world.handle(&nameless, 3).await.expect("ok");
    new.oracle.say(1, [Reply::Confirm]);

    let renamed = new.builder(&world).service_alias("shop").service_alias("default");
    let renamed = World::start(renamed).await;
    world.settled(&renamed).await;
    assert_eq!((new.oracle.asked(1).len(), new.listener.orders()), (1, vec![1, 2, 3]));
    let mut kept: Vec<_> =
        info(&renamed, MessageState::Delivered).await.into_iter().map(|(name, ..)| name).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["default", "shop", "shop"], "a message keeps its name");
}

/// The operator's verbs need no process of the service.
#[tokio::test]
async fn a_person_decides_for_every_service() {
    let world = World::new().await;
    let (orders, billing) = (Service::new("orders"), Service::new("billing"));
    let undelivered = fast().check_back_attempts(1);
    let own = World::start(orders.builder(&world).settings(undelivered)).await;
    orders.oracle.say(1, [Reply::Unknown]);
    world.vanish(&own, 1).await;
    world.count(&own, MessageState::Parked, 1).await;
    assert!(own.shutdown(Duration::from_secs(10)).await);

    let other = billing.start(&world).await;
    let parked = other.admin().list(MessageState::Parked, None, 1).await.expect("lists").remove(0);
    assert_eq!(parked.service, "orders");
    other.admin().confirm(parked.id, "the carrier says so").await.expect("confirms");
    let own = orders.start(&world).await;
    world.settled(&own).await;
    assert_eq!((orders.listener.orders(), billing.listener.orders()), (vec![1], vec![]));
}

#[tokio::test]
async fn a_service_without_a_process_is_reported_by_the_others() {
    let (log, _guard) = Log::listen(LevelFilter::WARN);
    let world = World::new().await;
    let (gone, left) = (Service::new("gone"), Service::new("left"));
    let undelivered = world.builder().service("gone").settings(fast().deliver(false));
    let undelivered = World::start(undelivered).await;
    for id in 1..=2 {
        world.handle(&undelivered, id).await.expect("ok");
    }
    world.count(&undelivered, MessageState::Confirmed, 2).await;
    assert!(undelivered.shutdown(Duration::from_secs(10)).await);
    gone.dies(&world, 3).await;
    let often = fast().janitor_interval(Duration::from_millis(50));
    let messenger = World::start(left.builder(&world).settings(often)).await;
    world.handle(&messenger, 4).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    let reported = || log.lines_with(&["messages of the service"]);
    assert_eq!(reported(), [] as [String; 0], "they are due, but not for long");
    assert!(messenger.shutdown(Duration::from_secs(10)).await);

    // By an hour: the lease of one that died may go on for some seconds. And while nobody looks: halves and confirmed
    // messages are counted by two statements.
    let age = "UPDATE tm_message SET due_at = due_at - 3600000 WHERE state IN (0, 1)";
    run(&world.store(), age).await.expect("ages");
    let messenger = World::start(left.builder(&world).settings(often)).await;
    wait_until("a warning", async || !reported().is_empty()).await;
    let lines = reported();
    let wanted = ["the service `gone` have been due", "count=3", "start one", "`.service_alias(\"gone\")`"];
    let remedy = lines[0].replace('\\', "");
    assert!(wanted.iter().all(|wanted| remedy.contains(wanted)), "{lines:?}");
    // The next round does not say it again.
    world.handle(&messenger, 5).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 2).await;
    assert_eq!(reported().len(), 1);
    assert_eq!(
        info(&messenger, MessageState::Half).await,
        [("gone".to_owned(), "handler:pay".to_owned(), 0)]
    );
}

/// Perhaps two services that should have names; perhaps one that was split or renamed. So it is said, and goes on.
#[tokio::test]
async fn a_handler_that_answers_for_another_package_is_reported() {
    let (log, _guard) = Log::listen(LevelFilter::WARN);
    let world = World::new().await;
    for package in ["it", "billing"] {
        let builder = world.elsewhere().builder().consumer(world.elsewhere().consumer());
        let (reached, wait) = tokio::sync::oneshot::channel();
        let process = Process::start(move || async move {
            let messenger = World::start(builder).await;
            let body = async {
                reached.send(()).expect("waits");
                std::future::pending().await
            };
            let _: Result<(), ShopError> = messenger.scope(async { handled(&order(1), body).await }).await;
        });
        wait.await.expect("gets there");
        process.kill().await;
        assert_eq!(texts(&world.store(), "SELECT package FROM tm_message WHERE state = 0").await, ["it"]);
        run(&world.store(), format!("UPDATE tm_message SET package = '{package}'")).await.expect("changes");
        world.oracle.say(1, [Reply::Confirm]);
        let messenger = world.messenger().await;
        world.settled(&messenger).await;
        let lines = log.lines_with(&["answers for a half message of the package"]);
        match package {
            "it" => assert_eq!(lines, [] as [String; 0]),
            _ => assert!(
                lines.len() == 1 && lines[0].contains("`it.handled` of the package `it`"),
                "{lines:?}"
            ),
        }
        assert!(messenger.shutdown(Duration::from_secs(10)).await);
    }
    assert_eq!(world.listener.orders(), [1, 1]);
}

/// The columns of version 1, as a process writes them that knows no services.
fn old_insert(state: u8, key: u64, answered_by: &str) -> String {
    let (id, now) = (Db::id(uuid::Uuid::now_v7()), Db::NOW);
    let function = if Db::FOLDER == "mysql" { "`function`" } else { "function" };
    let payload = serde_json::to_string(&order(key)).expect("encodes");
    let payload =
        if Db::FOLDER == "sqlite" { format!("CAST('{payload}' AS BLOB)") } else { format!("'{payload}'") };
    format!(
        "INSERT INTO tm_message (id, call_id, state, answered_by, {function}, check_after, due_at, created_at, \
         exchange, routing_key, content_type, message_key, headers, payload) VALUES ({id}, {id}, {state}, \
         '{answered_by}', 'it::handled', 0, {now}, {now}, 'shop', 'order.old', 'application/json', '{key}', '[]', \
         {payload})"
    )
}

#[tokio::test]
async fn a_store_of_the_first_version_is_upgraded_with_what_is_in_it() {
    let world = World::new().await;
    let pool = world.store();
    run(&pool, scripts("message").remove(0)).await.expect("runs");
    run(&pool, old_insert(0, 1, "handler:it.handled")).await.expect("inserts");
    run(&pool, old_insert(1, 2, "handler:it.handled")).await.expect("inserts");
    world.oracle.say(1, [Reply::Confirm]);
    world.oracle.say(3, [Reply::Confirm]);
    let unready =
        world.builder().build().await.expect("builds").start().await.expect_err("starts").to_string();
    assert!(unready.contains("are at version 1") && unready.contains("Messenger::migrate"), "{unready}");

    let messenger = world.messenger().await;
    // Processes of the first version that still run go on writing.
    run(&pool, old_insert(0, 3, "handler:it.handled")).await.expect("inserts");
    run(&pool, old_insert(1, 4, "nobody")).await.expect("inserts");
    wait_until("all four", async || world.listener.orders() == [1, 2, 3, 4]).await;
    world.settled(&messenger).await;
    let services = texts(&pool, "SELECT DISTINCT service FROM tm_message").await;
    assert_eq!(services, ["default"]);
}

/// MySQL has no transaction around DDL: the version is written last, and what is done is not done again.
#[tokio::test]
async fn an_upgrade_that_was_cut_off_is_finished_by_the_next() {
    let world = World::new().await;
    let pool = world.store();
    let messenger = world.messenger().await;
    assert!(messenger.shutdown(Duration::from_secs(10)).await);
    if Db::FOLDER == "mysql" {
        run(&pool, "UPDATE tm_schema SET version = 1 WHERE part = 'message'").await.expect("goes back");
    }
    let messenger = world.messenger().await;
    world.handle(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    let version = numbers(&pool, "SELECT version FROM tm_schema WHERE part = 'message'").await;
    assert_eq!(version, [i64::try_from(scripts("message").len()).expect("few")]);
}
