//! `tm doctor` on real servers: each fault has its cause and its remedy in the text, and an exit code.

use std::time::Duration;

use it::{
    Fragile, MySqlDatabases, Place, PostgresSchemas, Rabbit, SqliteFiles, World, fast, fenced, order, run,
    wait_until,
};
use lapin::types::AMQPValue;
use services::mariadb;
use transactional_message::{Consumer, ExchangeKind, MessageState, RabbitMq};

use crate::run::Tm;

const HOUR: Duration = Duration::from_hours(1);

/// What it finds, for a queue's consumer in a world of its own.
struct Shop {
    world: World<SqliteFiles>,
    rabbit: Rabbit,
    queue: String,
}

impl Shop {
    async fn new() -> Self {
        let rabbit = Rabbit::new().await;
        let queue = rabbit.queue("books");
        Self { world: World::new().await, rabbit, queue }
    }

    fn consumer(&self) -> Consumer {
        Consumer::new(&self.queue, self.world.books.clone(), self.world.listener.clone())
            .bind(&self.rabbit.exchange, "#")
            .retry_delays([Duration::from_millis(50)])
    }

    fn tm(&self, amqp_url: &str) -> Tm {
        Tm::default().with(&["--database-url", &self.world.place.url("store"), "--amqp-url", amqp_url])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_and_small_limits_are_found() {
    let shop = Shop::new().await;
    let messenger =
        World::<SqliteFiles>::start(shop.rabbit.with(shop.world.builder()).consumer(shop.consumer())).await;
    shop.rabbit.is_consumed(&shop.queue).await;
    let tm = shop.tm(&shop.rabbit.url);
    let well = tm.run(&["doctor"]).ends_with(0);
    assert!(well.err.contains("nothing is known to be wrong"), "{}{}", well.out, well.err);
    let processes = tm.clone().with(&["--format", "json"]).run(&["processes"]).ends_with(0).json();
    let process = &processes["processes"][0];
    assert_eq!(process["remembers"][&shop.queue], 7 * 24 * 3600, "{process}");
    assert_eq!(
        (&process["transport"], &process["exchanges"][0]),
        (&"rabbitmq".into(), &shop.rabbit.exchange.as_str().into())
    );
    assert!(process["program"].as_str().is_some_and(|program| program.starts_with("tm-")), "{process}");
    assert_eq!(process["packages"][0], "it");

    let dead = format!("{}.dead", shop.queue);
    shop.rabbit.publish_to(&dead, b"{}", lapin::BasicProperties::default()).await;
    shop.rabbit.has(&dead, 1).await;
    let found = tm.run(&["doctor"]).ends_with(6);
    assert!(found.out.contains(&format!("dead letters of the queue `{}` wait", shop.queue)), "{}", found.out);
    assert!(found.out.contains(&format!("remedy  `tm dead list '{}'`", shop.queue)), "{}", found.out);
    tm.run(&["doctor", "--ignore", "dead letters"]).ends_with(0);
    assert!(messenger.shutdown(HOUR).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_limit_is_found_with_what_helps_against_it() {
    let shop = Shop::new().await;
    let dead = format!("{}.dead", shop.queue);
    let small = [
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
        ("x-delivery-limit", AMQPValue::LongLongInt(5)),
    ];
    shop.rabbit.declare(&dead, &small).await.expect("declares");
    let _messenger =
        World::<SqliteFiles>::start(shop.rabbit.with(shop.world.builder()).consumer(shop.consumer())).await;
    shop.rabbit.is_consumed(&shop.queue).await;
    let tm = shop.tm(&shop.rabbit.url);
    let found = tm.run(&["doctor"]).ends_with(6);
    assert!(found.out.contains(&format!("the queue `{dead}` has a small delivery limit")), "{}", found.out);
    assert!(found.out.contains("was declared with the delivery limit 5"), "{}", found.out);
    assert!(found.out.contains("remedy  no policy can raise"), "{}", found.out);
    // It has asked by declaring, and changed nothing.
    let again = tm.run(&["doctor"]).ends_with(6);
    assert_eq!(found.out, again.out);
    tm.run(&["doctor", "--ignore", "small delivery limit"]).ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named_with_what_makes_it() {
    let shop = Shop::new().await;
    // A process whose broker is away announces what it wants all the same.
    let nowhere = RabbitMq::new("amqp://127.0.0.1:1").exchange(&shop.rabbit.exchange, ExchangeKind::Topic);
    let builder = shop.world.builder().rabbitmq(nowhere).consumer(shop.consumer());
    let _messenger = World::<SqliteFiles>::start(builder).await;
    let tm = shop.tm(&shop.rabbit.url);
    wait_until("the announcement", async || tm.run(&["processes"]).out.contains(&shop.queue)).await;
    let found = tm.run(&["doctor"]).ends_with(6);
    for expected in [
        format!("the queue `{}` does not exist", shop.queue),
        format!("the queue `{}.dead` does not exist", shop.queue),
        "start its consumer, which declares it".to_owned(),
        format!("the exchange `{}` does not exist", shop.rabbit.exchange),
        "have whoever owns it create it".to_owned(),
    ] {
        assert!(found.out.contains(&expected), "{expected}: {}", found.out);
    }
    // Nothing was made by looking.
    assert_eq!(shop.rabbit.ready(&shop.queue).await, None);

    let wrong = shop.rabbit.url.replace("test-secret", "s3cret");
    for (url, expected) in [
        ("amqp://ana:s3cret@127.0.0.1:1", "start the broker, or mend the way to it"),
        (wrong.as_str(), "check user and password in the URL"),
    ] {
        let found = shop.tm(url).run(&["doctor"]).ends_with(6);
        assert!(found.out.contains(expected) && found.out.contains("can't be used"), "{}", found.out);
        assert!(!found.out.contains("s3cret") && !found.err.contains("s3cret"));
        let refused = shop.tm(url).run(&["dead", "list", "books"]).ends_with(1);
        assert!(
            refused.err.contains("RabbitMQ at 127.0.0.1") && !refused.err.contains("s3cret"),
            "{}",
            refused.err
        );
    }
    let without = Tm::default().with(&["--database-url", &shop.world.place.url("store")]);
    assert!(without.run(&["dead", "list"]).ends_with(2).err.contains("TM_AMQP_URL"));
    let by_environment = without.env("TM_AMQP_URL", &shop.rabbit.url);
    by_environment.run(&["dead", "list", "books"]).ends_with(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_with_the_command() {
    let broker = services::rabbitmq::start().await.expect("RabbitMQ starts");
    let rabbit = Rabbit::at(broker.url()).await;
    let shop = Shop { queue: rabbit.queue("books"), rabbit, world: World::new().await };
    let _messenger =
        World::<SqliteFiles>::start(shop.rabbit.with(shop.world.builder()).consumer(shop.consumer())).await;
    shop.rabbit.is_consumed(&shop.queue).await;
    broker.ctl(["add_user", "ana", "s3cret"]).await.expect("adds");
    let url = broker.url().replace("tm:test-secret", "ana:s3cret");
    let refused = shop.tm(&url).run(&["dead", "list"]).ends_with(1);
    assert!(refused.err.contains("that the user has permissions there"), "{}", refused.err);

    broker.ctl(["set_permissions", "ana", "^$", "^$", "^$"]).await.expect("sets");
    let dead = format!("{}.dead", shop.queue);
    shop.rabbit.publish_to(&dead, b"{}", lapin::BasicProperties::default()).await;
    shop.rabbit.has(&dead, 1).await;
    let refused = shop.tm(&url).run(&["dead", "show", &shop.queue]).ends_with(4);
    for expected in [
        "ACCESS_REFUSED",
        "the user `ana` needs the right `read`",
        "rabbitmqctl set_permissions -p '/' 'ana'",
    ] {
        assert!(refused.err.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {}", refused.err);
    }
    // They are counted all the same, of each queue.
    let list = shop.tm(&url).run(&["dead", "list", &shop.queue, &shop.queue]).ends_with(3);
    assert_eq!(list.out.matches(&shop.queue).count(), 2, "{}{}", list.out, list.err);
    // What an operator needs, and no more.
    broker.ctl(["set_permissions", "ana", "^$", "^$", r"\.dead$"]).await.expect("sets");
    shop.tm(&url).run(&["dead", "show", &shop.queue]).ends_with(0);
    let arguments = ["dead", "redrive", &shop.queue, "--forgotten", "--yes", "--reason", "x"];
    let refused = shop.tm(&url).run(&arguments).ends_with(1);
    assert!(refused.err.contains("`write` on the default exchange (`amq.default`)"), "{}", refused.err);
    shop.rabbit.has(&dead, 1).await;
    broker.ctl(["set_permissions", "ana", "^$", r"^amq\.default$", r"\.dead$"]).await.expect("sets");
    shop.tm(&url).run(&arguments).ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_named() {
    async fn on<P: Place>(code: &str) {
        let world = World::<P>::new().await;
        let url = world.place.url("store").replace("test-secret", "s3cret");
        let ran = Tm::default().with(&["--database-url", &url]).run(&["doctor"]).ends_with(1);
        assert!(ran.err.contains(code) && ran.err.contains("was the password changed?"), "{}", ran.err);
        assert!(!ran.err.contains("s3cret"), "{}", ran.err);
    }
    on::<PostgresSchemas>("28P01").await;
    on::<MySqlDatabases>("1045").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_a_connection_does_not_see_are_asked_for_by_their_schema() {
    let world = World::<PostgresSchemas>::new().await;
    let there = world.place.url("store");
    Tm::default().with(&["--database-url", &there]).run(&["migrate", "--yes"]).ends_with(0);
    let (server, options) = there.split_once("options[search_path]=").expect("a schema");
    let schema = options.split('&').next().expect("a name");
    let elsewhere = format!("{server}options[search_path]=public");
    let blind = Tm::default().with(&["--database-url", &elsewhere]);
    let ran = blind.run(&["doctor"]).ends_with(1);
    assert!(
        ran.err.contains("at version 0") && ran.err.contains("name their schema by --schema"),
        "{}",
        ran.err
    );
    blind.clone().with(&["--schema", schema]).run(&["doctor"]).ends_with(0);

    // The fence beside the messages is there, too.
    let messenger =
        World::<PostgresSchemas>::start(world.builder_on("shop").consumer(world.consumer())).await;
    messenger.scope(async { fenced(&order(1), async { Ok(()) }).await }).await.expect("ok");
    world.count(&messenger, MessageState::Parked, 1).await;
    let there = world.place.url("shop");
    let (_, options) = there.split_once("options[search_path]=").expect("a schema");
    let blind = blind.with(&["--schema", options.split('&').next().expect("a name")]);
    let ran = blind.run(&["cancel", "--all", "--reason", "nothing was paid", "--begin-in", "0s", "--yes"]);
    assert!(ran.ends_with(0).out.contains("cancel 1 of 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_were_set_otherwise_are_found() {
    let server = mariadb::start_with(&[]).await.expect("a server");
    let world = World::<MySqlDatabases>::at(MySqlDatabases::on(server.url()), 4).await;
    let _messenger = world.messenger_with(fast().body_limit(4 << 20)).await;
    let tm = Tm::on(&world);
    tm.run(&["doctor", "--ignore", "can lose what was committed"]).ends_with(0);
    let admin = world.store();
    run(&admin, "SET GLOBAL max_allowed_packet = 2097152").await.expect("sets");
    let found = tm.run(&["doctor", "--ignore", "can lose what was committed"]).ends_with(6);
    assert!(found.out.contains("`max_allowed_packet` is 2097152"), "{}", found.out);
    assert!(
        found.out.contains("`body_limit` (4194304)") && found.out.contains("raise `max_allowed_packet`"),
        "{}",
        found.out
    );
    // A RabbitMQ that says nothing keeps nothing of that back.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("amqp://{}", silent.local_addr().expect("an address"));
    let both = tm.clone().with(&["--amqp-url", &url, "--timeout", "3s"]).run(&["doctor"]).ends_with(6);
    for expected in ["`max_allowed_packet` is 2097152", "RabbitMQ could not be looked at in time"] {
        assert!(both.out.contains(expected), "{expected}: {}", both.out);
    }
    // Whoever has to decide messages meanwhile can.
    tm.run(&["list"]).ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_log_of_statements_is_found() {
    let server = mariadb::start_with(&["--binlog-format=STATEMENT"]).await.expect("a server");
    let place = MySqlDatabases::on(server.url());
    place.create(&["store"]).await;
    let tm = Tm::default().with(&["--database-url", &place.url("store")]);
    let found = tm.run(&["doctor"]).ends_with(6);
    assert!(found.out.contains("`binlog_format` is STATEMENT"), "{}", found.out);
    assert!(found.out.contains("set it to ROW or MIXED"), "{}", found.out);
    let json = tm.with(&["--format", "json"]).run(&["doctor"]).ends_with(6).json();
    assert!(
        json["findings"][0]["evidence"].as_str().is_some_and(|seen| seen.contains("STATEMENT")),
        "{json}"
    );
}
