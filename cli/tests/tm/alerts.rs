//! From each alert to the right message and the right decision: what the alert stands for is brought about, and then nothing is
//! run but the commands that its own text names, two at most.

use std::time::Duration;

use futures_util::future::join_all;
use it::{
    AnsweredBy, Place, Rabbit, Reply, ShopError, World, ask, fast, fenced, order, run, send, vanish,
    wait_until,
};
use transactional_message::{Backoff, Message, MessageState, RabbitMq, begin};

use crate::rules::{Alert, alerts};
use crate::run::Tm;

const HOUR: Duration = Duration::from_hours(1);
/// What waits is due for long.
const AGE: &str = "UPDATE tm_message SET due_at = due_at - 7200000";

/// About the broker's queues, a pause of somebody's making, a machine or a bug: nothing is decided about messages of the store.
const ELSEWHERE: [&str; 6] =
    ["DeadLetters", "ConsumerStalled", "Paused", "BrokerBlocked", "SlowHalf", "WorkerPanic"];

pub(crate) async fn every_alert_leads_to_the_message_and_the_decision<P: Place>() {
    let alerts = alerts();
    assert!(alerts.len() > 10);
    let world = World::<P>::new().await;
    let empty = Tm::on(&world).with(&["--yes", "--amqp-url", "amqp://127.0.0.1:1"]);
    empty.run(&["migrate"]).ends_with(0);
    join_all(alerts.iter().map(|alert| follow::<P>(alert, &empty))).await;
}

/// Every alert of the rules has an entry here.
async fn follow<P: Place>(alert: &Alert, empty: &Tm) {
    alert.is_short(empty);
    match alert.name.as_str() {
        "Parked" => parked::<P>(alert).await,
        "Dead" => dead::<P>(alert).await,
        "DeliveryStalled" => delivery_stalled::<P>(alert).await,
        "DeliveryLate" => delivery_late::<P>(alert).await,
        "CheckBackLate" => check_back_late::<P>(alert).await,
        "NobodyAnswers" => nobody_answers::<P>(alert).await,
        "NoAnswer" => no_answer::<P>(alert).await,
        "Overruled" => overruled::<P>(alert).await,
        "BrokerAway" => broker_away::<P>(alert).await,
        "Unroutable" => unroutable::<P>(alert).await,
        "StoreSilent" => store_silent(alert).await,
        "Silent" => silent::<P>(alert).await,
        other => assert!(ELSEWHERE.contains(&other), "the alert {other} has no entry in {}", file!()),
    }
}

/// The message whose order this is.
fn message<P: Place>(world: &World<P>, order: u64) -> String {
    let tm = Tm::on(world).with(&["--format", "ids"]);
    let ids = tm.run(&["list", "--key", &order.to_string()]).ends_with(0).out;
    ids.trim().to_owned()
}

/// Waits until the process of this test has announced itself.
async fn announced(tm: &Tm) {
    let tm = tm.clone().with(&["--format", "json"]);
    wait_until("a process", async || {
        !tm.run(&["processes"]).json()["processes"].as_array().expect("a list").is_empty()
    })
    .await;
}

#[track_caller]
fn says(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in: {text}");
}

async fn parked<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let messenger = world.messenger_with(fast().check_back_attempts(1)).await;
    let tm = Tm::on(&world);
    for (order, decision, state) in
        [(1, "cancel", MessageState::Cancelled), (2, "confirm", MessageState::Delivered)]
    {
        world.oracle.say(order, [Reply::Unknown]);
        world.vanish(&messenger, order).await;
        world.count(&messenger, MessageState::Parked, 1).await;
        let (id, why) = alert.find(&tm, "why");
        assert_eq!(id, message(&world, order));
        says(&why, "Its check-back handler gave no clear answer");
        alert.run(&tm, decision, &id).ends_with(0);
        world.count(&messenger, state, 1).await;
    }
    assert_eq!(world.listener.orders(), [2]);
}

async fn dead<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    // Nobody takes its messages.
    let messenger = World::<P>::start(world.builder().settings(fast().delivery_attempts(1))).await;
    world.pay(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Dead, 1).await;
    let tm = Tm::on(&world);
    let (id, why) = alert.find(&tm, "why");
    assert_eq!(id, message(&world, 1));
    says(&why, "It could not be delivered");
    assert!(messenger.shutdown(HOUR).await);
    let messenger = world.messenger().await;
    alert.run(&tm, "retry", &id).ends_with(0);
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!(world.listener.orders(), [1]);
}

async fn delivery_stalled<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let messenger = World::<P>::start(world.builder().settings(fast().deliver(false))).await;
    world.pay(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Confirmed, 1).await;
    world.shut_down(&messenger).await;
    run(&world.store(), AGE).await.expect("ages");
    let tm = Tm::on(&world);
    let doctor = alert.run(&tm, "doctor", "").ends_with(6).out;
    says(&doctor, "no process that has announced itself delivers for their service");
    says(&doctor, "start a process of that service");
    let (id, why) = alert.find(&tm, "why");
    assert_eq!(id, message(&world, 1));
    says(&why, "delivers for its service");
    world.settled(&world.messenger().await).await;
}

async fn delivery_late<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let messenger = World::<P>::start(world.builder().settings(fast().deliver(false))).await;
    world.pay(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Confirmed, 1).await;
    let tm = Tm::on(&world);
    let (id, why) = alert.find(&tm, "why");
    assert_eq!(id, message(&world, 1));
    says(&why, "delivers for its service");
    announced(&tm).await;
    let processes = alert.run(&tm.with(&["--columns", "pid,delivers"]), "processes", "").ends_with(0).out;
    assert_eq!(processes.split_whitespace().last(), Some("false"), "{processes}");
    world.settled(&world.messenger().await).await;
}

/// A call whose process has vanished, and about which nobody asked yet.
async fn vanished<P: Place>(world: &World<P>) {
    let messenger = World::<P>::start(world.builder().settings(fast().check_after(HOUR))).await;
    world.vanish(&messenger, 1).await;
    world.shut_down(&messenger).await;
    run(&world.store(), AGE).await.expect("ages");
}

async fn check_back_late<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    vanished(&world).await;
    let tm = Tm::on(&world);
    let doctor = alert.run(&tm, "doctor", "").ends_with(6).out;
    says(&doctor, "1 half messages of handler:it.handled have been due for more than a minute");
    says(&doctor, "start a process that has this fence or handler");
    let (id, why) = alert.find(&tm, "why");
    assert_eq!(id, message(&world, 1));
    says(&why, "has the fence or the handler that could answer for it");
    world.oracle.say(1, [Reply::Confirm]);
    world.settled(&world.messenger().await).await;
    assert_eq!(world.listener.orders(), [1]);
}

async fn nobody_answers<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let builder = world.builder().settings(fast().check_after(HOUR)).check_back("it.shipped", ask);
    let messenger = World::<P>::start(builder).await;
    let shipped = Message::json("shop", "order.handled", &order(1)).expect("encodes").business_key(1);
    let call = it::call(AnsweredBy::Handler("it.shipped".into()), [shipped]);
    vanish(messenger.call(call, async { panic!("on purpose") as Result<(), ShopError> })).await;
    world.shut_down(&messenger).await;
    run(&world.store(), AGE).await.expect("ages");
    // A process without that handler: it was renamed.
    let messenger = world.messenger().await;
    let tm = Tm::on(&world);
    announced(&tm).await;
    let (id, why) = alert.find(&tm, "why");
    assert_eq!(id, message(&world, 1));
    says(&why, "has the fence or the handler that could answer for it");
    let processes = alert.run(&tm.with(&["--format", "json"]), "processes", "").ends_with(0).out;
    assert!(processes.contains("handler:it.handled") && !processes.contains("it.shipped"), "{processes}");
    assert!(messenger.shutdown(HOUR).await);
    world.oracle.say(1, [Reply::Confirm]);
    let renamed = world.builder().alias("it.shipped", "it.handled").consumer(world.consumer());
    world.settled(&World::<P>::start(renamed).await).await;
    assert_eq!(world.listener.orders(), [1]);
}

async fn no_answer<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let messenger = world.messenger_with(fast().check_back_backoff(Backoff::new(HOUR, HOUR))).await;
    world.oracle.say(1, [Reply::Unknown]);
    world.vanish(&messenger, 1).await;
    let tm = Tm::on(&world);
    let once = tm.clone().with(&["--format", "ids"]);
    wait_until("an answer to be kept", async || {
        !once.run(&["list", "--because", "answered unknown"]).out.is_empty()
    })
    .await;
    let (id, why) = alert.find(&tm, "why");
    assert_eq!(id, message(&world, 1));
    says(&why, "A check-back got no clear answer.");
    says(&alert.run(&tm, "show", &id).ends_with(0).out, "answered Unknown");
}

async fn overruled<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let messenger = world.messenger().await;
    // One that never committed is no contradiction.
    let declined = async { Err(ShopError::Declined) };
    messenger.scope(async { fenced::<()>(&order(1), declined).await }).await.expect_err("declined");
    let body = async {
        begin(&world.shop).await?.commit().await?;
        run(&world.shop, "DELETE FROM tm_fence").await.expect("is lost, as in a failover");
        Err(ShopError::Declined)
    };
    messenger.scope(async { fenced::<()>(&order(2), body).await }).await.expect_err("declined");
    world.count(&messenger, MessageState::Cancelled, 2).await;
    let tm = Tm::on(&world);
    let (id, listed) = alert.find(&tm, "list");
    assert_eq!(id, message(&world, 2));
    assert!(!listed.contains(&message(&world, 1)), "{listed}");
    says(&alert.run(&tm, "show", &id).ends_with(0).out, "it overruled the process that had committed");
}

async fn broker_away<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    // Where nobody listens.
    let builder = world.builder().rabbitmq(RabbitMq::new("amqp://127.0.0.1:9"));
    let messenger = World::<P>::start(builder).await;
    world.pay(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Confirmed, 1).await;
    let tm = Tm::on(&world);
    wait_until("the doctor to find it", async || {
        run(&world.store(), AGE).await.expect("ages");
        let doctor = alert.run(&tm, "doctor", "").out;
        doctor.contains("the broker is away, or it is too slow")
            && doctor.contains(&format!("(process {})", std::process::id()))
    })
    .await;
}

async fn unroutable<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let rabbit = Rabbit::new().await;
    let settings = fast().delivery_backoff(Backoff::new(HOUR, HOUR));
    let messenger = World::<P>::start(rabbit.with(world.builder().settings(settings))).await;
    let message = Message::json(&rabbit.exchange, "order.paid", &order(1)).expect("encodes");
    send(&messenger, message).await;
    let tm = Tm::on(&world);
    let mut found = None;
    wait_until("an attempt to fail", async || {
        let why = alert.run(&tm, "why", "").out;
        let failed = why.contains("It could not be delivered, and pauses.");
        found = failed.then(|| alert.find(&tm, "why").0);
        failed
    })
    .await;
    let queue = rabbit.queue("orders");
    rabbit.bind(&queue, "#").await;
    let id = found.expect("a message");
    alert.run(&tm, "retry", &id).ends_with(0);
    assert_eq!(rabbit.take(&queue, 1).await[0].id().to_string(), id);
    rabbit.delete(&queue).await;
}

async fn store_silent(alert: &Alert) {
    let postgres = services::postgres::start().await.expect("PostgreSQL");
    let tm = Tm::default().with(&["--database-url", postgres.url()]);
    tm.run(&["migrate", "--yes"]).ends_with(0);
    alert.run(&tm, "status", "").ends_with(0);
    postgres.kill().expect("killed");
    let ran = alert.run(&tm, "status", "").ends_with(1);
    says(&ran.err, "refused");
    assert!(!ran.err.contains(services::PASSWORD), "{}", ran.err);
}

async fn silent<P: Place>(alert: &Alert) {
    let world = World::<P>::new().await;
    let messenger = world.messenger().await;
    let tm = Tm::on(&world);
    announced(&tm).await;
    says(&alert.run(&tm, "processes", "").ends_with(0).out, &std::process::id().to_string());
    world.shut_down(&messenger).await;
    says(&alert.run(&tm, "processes", "").ends_with(0).err, "no process has announced itself");
}
