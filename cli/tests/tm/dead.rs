//! `tm dead` on a real RabbitMQ: nothing is lost by looking, redriving or dying over it, and each effect happens once.

use std::time::{Duration, SystemTime};

use expect_test::expect;
use it::{Action, Place, Rabbit, ScriptedConsumer, SqliteFiles, order, send, wait_until};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use transactional_message::{Consumer, Message, Messenger};
use uuid::{NoContext, Timestamp, Uuid};

use crate::run::Tm;

type World = it::World<SqliteFiles>;

const HOUR: Duration = Duration::from_hours(1);
const REASON: [&str; 2] = ["--reason", "the ink has come"];

/// A shop, its broker, and a queue whose consumer tries each message once.
pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) rabbit: Rabbit,
    pub(crate) queue: String,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::at(Rabbit::new().await).await
    }

    async fn at(rabbit: Rabbit) -> Self {
        let queue = rabbit.queue("books");
        Self { world: World::new().await, rabbit, queue }
    }

    fn dead(&self) -> String {
        format!("{}.dead", self.queue)
    }

    fn listener(&self) -> &ScriptedConsumer {
        &self.world.listener
    }

    fn consumer(&self) -> Consumer {
        Consumer::new(&self.queue, self.world.books.clone(), self.listener().clone())
            .bind(&self.rabbit.exchange, "#")
            .max_attempts(1)
            .retry_delays([Duration::from_millis(50)])
    }

    async fn open(&self) -> Messenger {
        self.open_with(self.consumer()).await
    }

    async fn open_with(&self, consumer: Consumer) -> Messenger {
        let messenger = World::start(self.rabbit.with(self.world.builder()).consumer(consumer)).await;
        self.rabbit.is_consumed(&self.queue).await;
        messenger
    }

    async fn pay(&self, messenger: &Messenger, id: u64) {
        let message = Message::json(&self.rabbit.exchange, "order.paid", &order(id)).expect("encodes");
        send(messenger, message.message_type("paid.v1").header("tenant", "t")).await;
    }

    /// Dead letters of orders 1 to `count`, in this order, and the messenger whose consumer would take them now.
    pub(crate) async fn with_dead_letters(&self, count: u64) -> Messenger {
        let messenger = self.open().await;
        for id in 1..=count {
            self.listener().will(id, [Action::Fail, Action::Write]);
            self.pay(&messenger, id).await;
            // One after the other, for their order.
            self.rabbit.has(&self.dead(), u32::try_from(id).expect("few")).await;
        }
        messenger
    }

    /// A dead letter as a consumer leaves it behind, with this id.
    async fn bury(&self, id: &str, number: u64) {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = FieldTable::default();
        for (name, value) in [
            ("x-tm-exchange", text(&self.rabbit.exchange)),
            ("x-tm-routing-key", text("order.paid")),
            ("x-tm-reason", text("no ink")),
            ("x-tm-attempt", AMQPValue::LongLongInt(1)),
        ] {
            headers.insert(name.into(), value);
        }
        let properties =
            BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2).with_headers(headers);
        let body = serde_json::to_vec(&order(number)).expect("encodes");
        self.rabbit.publish_to(&self.dead(), &body, properties).await;
    }

    /// So many of them, of orders 1 to `count`.
    async fn bury_many(&self, count: u64) {
        for number in 1..=count {
            self.bury(&Uuid::now_v7().to_string(), number).await;
        }
        self.rabbit.has(&self.dead(), u32::try_from(count).expect("fits")).await;
    }

    fn tm(&self) -> Tm {
        let store = self.world.place.url("store");
        Tm::default().with(&["--database-url", &store, "--amqp-url", &self.rabbit.url, "--as", "ana@desk"])
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        self.tm().with(&["--format", "json"]).run(arguments).ends_with(code).json()
    }

    /// The ids of the dead letters, in their order.
    fn ids(&self) -> Vec<String> {
        let shown = self.json(&["dead", "show", &self.queue, "--limit", "10000"], 0);
        let letters = shown["dead_letters"].as_array().expect("a list");
        letters.iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// How many records the audit has of an action.
    fn audited(&self, action: &str) -> usize {
        let audit = self.json(&["audit", "--limit", "10000"], 0);
        audit["records"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|record| record["action"] == action)
            .count()
    }

    /// What is private to a test in a text.
    fn plain(&self, text: &str) -> String {
        crate::run::plain(&text.replace(&self.queue, "books").replace(&self.rabbit.exchange, "shop"))
    }
}

/// An id of ours that is so old.
fn aged(age: Duration) -> String {
    let made = SystemTime::now().checked_sub(age).expect("after 1970");
    let at = made.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Uuid::new_v7(Timestamp::from_unix(NoContext, at.as_secs(), at.subsec_nanos())).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_changes_nothing() {
    let shop = Shop::new().await;
    let _messenger = shop.with_dead_letters(3).await;
    let before = shop.ids();
    assert_eq!(before.len(), 3);
    for _ in 0..15 {
        // The queue is the one of the consumer that has announced itself.
        let list = shop.json(&["dead", "list"], 0);
        assert_eq!(list["queues"][0]["dead_letters"], 3, "{list}");
        assert_eq!(list["queues"][0]["id"], before[0].as_str());
        assert_eq!(shop.ids(), before);
    }
    shop.rabbit.has(&shop.dead(), 3).await;
    let list = shop.tm().run(&["dead", "list", &shop.queue]).ends_with(0);
    expect![[r"
        queue                                   dead letters  id                                    reason                                 attempts  sent at
        books  3             ID  failed 1 times; the last time: no ink  1         TIME ago
    "]]
    .assert_eq(&shop.plain(&list.out));
    // RabbitMQ 4.3 and later don't count it.
    let counts = shop.json(&["dead", "show", &shop.queue], 0)["dead_letters"][0]["handed_out"] != 0;
    assert_eq!(list.err.contains("were handed out"), counts, "{}", list.err);

    let shown = shop.tm().run(&["dead", "show", &shop.queue, &before[1]]).ends_with(0);
    expect![[r"
        dead letter  ID of the queue books
        reason       failed 1 times; the last time: no ink
        attempts     1
        from         exchange shop, routing key order.paid
        payload      18 bytes of application/json, type paid.v1
        sent         TIME ago
    "]]
    .assert_eq(&shop.plain(&shown.out));
    // What may be private is shown only to whom says why, and that is kept.
    let refused = shop.tm().run(&["dead", "show", &shop.queue, &before[1], "--payload"]).ends_with(2);
    assert!(refused.err.contains("--reason"), "{}", refused.err);
    shop.tm().run(&["dead", "show", &shop.queue, &before[1], "--payload", "--reason", " "]).ends_with(2);
    let arguments = ["dead", "show", &shop.queue, &before[1], "--payload", "--reason", "to compare"];
    let whole = shop.json(&arguments, 0);
    assert_eq!(whole["payload"], r#"{"id":2,"note":""}"#);
    assert_eq!(whole["headers"], serde_json::json!([["tenant", "t"]]));
    assert_eq!(shop.audited("view"), 1);
    assert_eq!(shop.ids(), before);
    shop.tm().run(&["dead", "show", &shop.queue, "0000"]).ends_with(5);
    let missing = shop.tm().run(&["dead", "list", "nobody"]).ends_with(5);
    assert!(missing.err.contains("no queue `nobody.dead`"), "{}", missing.err);
    shop.tm().run(&["dead", "redrive", "nobody", "--reason", "x"]).ends_with(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_redriven_has_its_effect_once_and_what_fails_again_is_not_sent_round() {
    let shop = Shop::new().await;
    let _messenger = shop.with_dead_letters(4).await;
    let ids = shop.ids();
    shop.listener().will(2, [Action::Fail]);
    let tm = shop.tm();
    let arguments = [&["dead", "redrive", &shop.queue][..], &REASON].concat();
    let dry = tm.clone().with(&["--dry-run"]).run(&arguments).ends_with(0);
    assert_eq!(shop.plain(&dry.out), "4 dead letters of `books`, 4 would be sent\n");
    let unasked = tm.run(&arguments).ends_with(2);
    assert!(unasked.err.contains("Up to 4 dead letters go to the queue"), "{}", unasked.err);
    assert!(!unasked.err.contains("test-secret"), "{}", unasked.err);
    assert_eq!(shop.ids(), ids);

    let ran = tm.clone().with(&["--yes"]).run(&arguments).ends_with(0);
    expect![[r"
        sent ID
        sent ID
        sent ID
        sent ID
    "]]
    .assert_eq(&shop.plain(&ran.out));
    assert!(ran.err.ends_with("\n4 sent\n"), "{}", ran.err);
    shop.rabbit.has(&shop.dead(), 1).await;
    wait_until("the effects", async || shop.world.effects_of_orders().await == [1, 3, 4]).await;
    assert_eq!(shop.ids(), [ids[1].clone()]);
    assert_eq!(shop.listener().heard_of(2).len(), 2, "once at first, and once again");
    let again = shop.json(&["dead", "show", &shop.queue, &ids[1]], 0);
    assert_eq!((&again["redriven"], &again["attempts"]), (&1.into(), &1.into()), "{again}");
    assert_eq!(again["routing_key"], "order.paid");

    // Once more: it takes part in the redrive that it came back from no second time.
    let all = shop.tm().with(&["--format", "json", "--yes"]).run(&arguments).ends_with(0).json();
    assert_eq!(all["summary"]["redriven"], 1, "{all}");
    assert_eq!(all["messages"][0]["became"], "sent");
    shop.rabbit.has(&shop.dead(), 1).await;
    assert_eq!(shop.listener().heard_of(2).len(), 3);
    assert_eq!(shop.json(&["dead", "show", &shop.queue, &ids[1]], 0)["redriven"], 2);
    assert_eq!(shop.audited("redrive"), 5);
    let audit = shop.json(&["audit", "--message", &ids[1]], 0);
    let record = &audit["records"][0];
    assert_eq!((&record["user"], &record["reason"]), (&"ana@desk".into(), &REASON[1].into()));
    let evidence = record["evidence"].as_str().expect("seen");
    assert!(evidence.contains(&shop.queue) && evidence.contains("no ink"), "{evidence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_are_one_and_sent_once() {
    let shop = Shop::new().await;
    let _messenger = shop.open().await;
    let id = Uuid::now_v7().to_string();
    for _ in 0..3 {
        shop.bury(&id, 1).await;
    }
    shop.rabbit.has(&shop.dead(), 3).await;
    assert_eq!(shop.json(&["dead", "show", &shop.queue, &id[..8]], 0)["id"], id.as_str());
    let arguments = [&["dead", "redrive", &shop.queue, "--yes"][..], &REASON].concat();
    let summary = &shop.json(&arguments, 0)["summary"];
    assert_eq!((&summary["redriven"], &summary["repeated"]), (&1.into(), &2.into()), "{summary}");
    wait_until("the effect", async || shop.world.effects_of_orders().await == [1]).await;
    shop.rabbit.has(&shop.dead(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_consumer_has_forgotten_is_left_where_it_is() {
    let shop = Shop::new().await;
    let _messenger = shop.open_with(shop.consumer().inbox_retention(HOUR)).await;
    let (old, odd, new) = (aged(HOUR * 2), "order-7", aged(HOUR / 2));
    for (number, id) in (1..).zip([old.as_str(), odd, &new]) {
        shop.bury(id, number).await;
    }
    shop.rabbit.has(&shop.dead(), 3).await;
    let arguments = [&["dead", "redrive", &shop.queue, "--yes"][..], &REASON].concat();
    let preview = shop.json(&[&arguments[..], &["--dry-run"]].concat(), 0);
    assert_eq!(
        preview["remembered_for_seconds"], 3600.0,
        "as the consumer's process has announced: {preview}"
    );
    assert_eq!(
        (&preview["too_old"], &preview["timeless"], &preview["would_send"]),
        (&1.into(), &1.into(), &1.into())
    );

    let ran = shop.tm().run(&arguments).ends_with(3);
    assert!(
        ran.err.contains("1 left for being older than what the consumer remembers (1 h 0 min)"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("1 left because their ids don't tell"), "{}", ran.err);
    wait_until("the effect", async || shop.world.effects_of_orders().await == [3]).await;
    shop.rabbit.has(&shop.dead(), 2).await;
    assert_eq!(shop.ids(), [old.as_str(), odd]);
    // None is sent: that is no success.
    shop.tm().run(&arguments).ends_with(4);
    // What is believed can be said.
    let longer = shop.json(&[&arguments[..], &["--dry-run", "--remember", "1day"]].concat(), 0);
    assert_eq!(longer["would_send"], 1);
    let forced = shop.tm().run(&[&arguments[..], &["--forgotten", "--max", "1"]].concat()).ends_with(0);
    assert!(forced.err.ends_with("1 sent\n"), "{}", forced.err);
    // The consumer has the last word.
    shop.rabbit.has(&shop.dead(), 2).await;
    let back = shop.json(&["dead", "show", &shop.queue, &old], 0);
    assert!(back["reason"].as_str().is_some_and(|why| why.contains("older than the 3600s")), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_sent_stays_and_is_named() {
    let shop = Shop::new().await;
    let quorum = [
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
        ("x-delivery-limit", AMQPValue::LongLongInt(1_000_000)),
    ];
    shop.rabbit.declare(&shop.dead(), &quorum).await.expect("declares");
    shop.tm().run(&["migrate", "--yes"]).ends_with(0);
    shop.bury_many(4).await;
    let ids = shop.ids();
    let arguments = [&["dead", "redrive", &shop.queue, "--yes"][..], &REASON].concat();

    // Nobody has the queue.
    let ran = shop.tm().run(&[&arguments[..], &["--stop-after-failures", "2"]].concat()).ends_with(1);
    assert!(ran.err.contains("no process has announced how long"), "{}", ran.err);
    assert!(ran.err.contains("there is no queue") && ran.err.contains("NO_ROUTE"), "{}", ran.err);
    assert!(ran.err.contains("0 sent, 2 could not be sent, and stay"), "{}", ran.err);
    assert!(ran.err.contains("it stopped before its end: 2 could not be sent"), "{}", ran.err);
    assert_eq!(shop.ids(), ids);
    assert_eq!(shop.audited("redrive"), 2, "the record comes first");

    // It is full.
    let full = [
        ("x-max-length", AMQPValue::LongLongInt(1)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    shop.rabbit.declare(&shop.queue, &full).await.expect("declares");
    let ran = shop.tm().with(&["--format", "jsonl"]).run(&arguments).ends_with(3);
    let became: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(became.iter().filter(|one| one["became"] == "sent").count(), 1, "{}", ran.out);
    assert!(became[3]["why"].as_str().is_some_and(|why| why.contains("it is full")), "{}", ran.out);
    shop.rabbit.has(&shop.dead(), 3).await;
    assert_eq!(shop.ids(), ids[1..]);
    assert_eq!(shop.rabbit.ready(&shop.queue).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_is_gone_and_nothing_else() {
    let shop = Shop::new().await;
    let _messenger = shop.with_dead_letters(4).await;
    let ids = shop.ids();
    let tm = shop.tm();
    let run = |tm: &Tm, ids: &[&str]| {
        let arguments = [&["dead", "discard", &shop.queue][..], ids, &REASON].concat();
        tm.run(&arguments)
    };
    run(&tm, &[]).ends_with(2);
    let unasked = run(&tm, &[&ids[1]]).ends_with(2);
    assert!(unasked.err.contains("one of 1 ids among the first 10000 of 4 dead letters"), "{}", unasked.err);
    run(&tm.clone().with(&["--dry-run"]), &["--all"]).ends_with(0);
    assert_eq!(shop.ids(), ids);

    let tm = tm.with(&["--yes"]);
    let ran = run(&tm, &[&ids[1], "0000"]).ends_with(3);
    assert_eq!(ran.out, format!("discarded {}\n", ids[1]));
    assert!(ran.err.contains("there is no dead letter `0000`"), "{}", ran.err);
    assert_eq!(shop.ids(), [ids[0].clone(), ids[2].clone(), ids[3].clone()]);
    run(&tm, &[&ids[1]]).ends_with(5);
    run(&tm, &["--all", "--max", "2"]).ends_with(0);
    assert_eq!(shop.ids(), [ids[3].clone()]);
    assert_eq!(shop.audited("discard"), 3);
    run(&tm, &["--all"]).ends_with(0);
    shop.rabbit.has(&shop.dead(), 0).await;
    assert_eq!(shop.audited("discard"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_killed_loses_nothing() {
    const COUNT: u64 = 400;
    let shop = Shop::new().await;
    let messenger = shop.open().await;
    shop.bury_many(COUNT).await;
    let arguments = [&["dead", "redrive", &shop.queue, "--yes"][..], &REASON].concat();
    let slow = [&arguments[..], &["--rate", "150"]].concat();
    for part in 1..=2 {
        let running = shop.tm().spawn(&slow);
        wait_until("some effects", async || shop.world.all_effects().await >= 60 * part).await;
        running.kill().ends_with(crate::run::KILLED);
    }
    let rest = shop.rabbit.ready(&shop.dead()).await;
    assert!(rest.is_some_and(|rest| rest > 0), "it was killed in the middle: {rest:?}");
    // What it had in hand is back as soon as the broker has noticed.
    wait_until("nothing more to be sent", async || {
        shop.tm().run(&arguments).ends_with(0);
        shop.world.all_effects().await == i64::try_from(COUNT).expect("fits")
    })
    .await;
    shop.rabbit.has(&shop.dead(), 0).await;
    shop.rabbit.has(&shop.queue, 0).await;
    assert_eq!(shop.world.effects_of_orders().await, (1..=COUNT).collect::<Vec<_>>());
    assert!(shop.audited("redrive") >= usize::try_from(COUNT).expect("fits"));
    assert!(messenger.shutdown(HOUR).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_without_its_broker_says_how_far_it_came() {
    const COUNT: u64 = 150;
    let broker = services::rabbitmq::start().await.expect("RabbitMQ starts");
    let shop = Shop::at(Rabbit::at(broker.url()).await).await;
    let _messenger = shop.open().await;
    shop.bury_many(COUNT).await;
    let arguments = [&["dead", "redrive", &shop.queue, "--yes"][..], &REASON].concat();
    let running = shop.tm().spawn(&[&arguments[..], &["--rate", "40"]].concat());
    wait_until("some effects", async || shop.world.all_effects().await >= 30).await;
    broker.kill().expect("runs");
    let ran = running.ended().ends_with(3);
    assert!(
        ran.err.contains("it stopped before its end: ") && ran.err.contains("run it again"),
        "{}",
        ran.err
    );
    let sent = ran.out.lines().count();
    assert!(ran.err.contains(&format!("{sent} sent")), "{}", ran.err);
    let away = shop.tm().run(&arguments).ends_with(1);
    assert!(away.err.contains("RabbitMQ at 127.0.0.1") && !away.err.contains("test-secret"), "{}", away.err);

    broker.start_again().await.expect("starts again");
    wait_until("everything to be sent", async || {
        // The first time, the queue may have no leader yet.
        let ran = shop.tm().run(&arguments);
        assert!([0, 1].contains(&ran.code), "{}", ran.err);
        shop.world.all_effects().await == i64::try_from(COUNT).expect("fits")
    })
    .await;
    assert_eq!(shop.world.effects_of_orders().await, (1..=COUNT).collect::<Vec<_>>());
    let shop = Shop { rabbit: Rabbit::at(broker.url()).await, ..shop };
    shop.rabbit.has(&shop.dead(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_drops_what_is_looked_at_is_not_looked_at() {
    let shop = Shop::new().await;
    let small = [
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
        ("x-delivery-limit", AMQPValue::LongLongInt(5)),
    ];
    shop.rabbit.declare(&shop.dead(), &small).await.expect("declares");
    shop.tm().run(&["migrate", "--yes"]).ends_with(0);
    shop.bury_many(2).await;
    if shop.json(&["dead", "show", &shop.queue, "--despite-limit"], 0)["dead_letters"][0]["handed_out"] == 0
        && shop.json(&["dead", "show", &shop.queue, "--despite-limit"], 0)["dead_letters"][0]["handed_out"]
            == 0
    {
        // RabbitMQ 4.3 and later don't count it.
        return;
    }
    for _ in 0..10 {
        let list = shop.tm().run(&["dead", "list", &shop.queue]).ends_with(3);
        assert!(
            list.err.contains("delivery limit 5") && list.err.contains("no policy can raise"),
            "{}",
            list.err
        );
        assert!(list.out.contains("  2"), "{}", list.out);
        let refused = shop.tm().run(&["dead", "show", &shop.queue]).ends_with(4);
        assert!(!refused.err.contains("--despite-limit"), "that would lose them: {}", refused.err);
        let arguments = [&["dead", "redrive", &shop.queue, "--yes"][..], &REASON].concat();
        shop.tm().run(&arguments).ends_with(4);
    }
    shop.rabbit.has(&shop.dead(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_there_is_not_is_refused_before_anything_is_done() {
    let shop = Shop::new().await;
    let _messenger = shop.with_dead_letters(2).await;
    let queue = shop.queue.as_str();
    for change in [vec!["dead", "redrive", queue], vec!["dead", "discard", queue, "--all"]] {
        let arguments = [change, REASON.to_vec()].concat();
        let ran = shop.tm().with(&["--yes", "--columns", "id,gone"]).run(&arguments).ends_with(2);
        assert!(ran.err.contains("there is no column `gone`, but: id, "), "{}", ran.err);
    }
    shop.rabbit.has(&shop.dead(), 2).await;
    // Each that a dead letter has is one.
    let shown = shop.json(&["dead", "show", queue], 0);
    let letter = shown["dead_letters"][0].as_object().expect("a letter");
    let columns = letter.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let arguments = [vec!["dead", "discard", queue, "--all"], REASON.to_vec()].concat();
    let tm = shop.tm().with(&["--yes", "--format", "csv", "--columns", &columns]);
    assert_eq!(tm.run(&arguments).ends_with(0).out.lines().next(), Some(columns.as_str()));
}
