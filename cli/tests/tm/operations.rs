//! Decisions about many messages, on one database.

use std::future::pending;
use std::time::Duration;

use expect_test::expect;
use it::{Place, Process, Reply, World, fast, fenced, order, run, wait_until};
use transactional_message::{MessageState, Messenger};

use crate::run::Tm;

const HOUR: Duration = Duration::from_hours(1);

/// Dead messages, which nobody takes; their process has ended.
async fn dead<P: Place>(world: &World<P>, count: u64) {
    let messenger = World::<P>::start(world.builder().settings(fast().delivery_attempts(1))).await;
    for id in 1..=count {
        world.pay(&messenger, id).await.expect("ok");
    }
    world.count(&messenger, MessageState::Dead, count).await;
    assert!(messenger.shutdown(HOUR).await);
}

/// Somebody who asks the store.
async fn tool<P: Place>(world: &World<P>) -> Messenger {
    world.builder().build().await.expect("builds")
}

/// The one operation that there is, as soon as so many are done.
async fn has_done(messenger: &Messenger, count: u64) -> String {
    let newest = async || messenger.admin().operations(None, 1).await.expect("reads").pop();
    wait_until(&format!("{count} to be done"), async || {
        newest().await.is_some_and(|operation| operation.done >= count)
    })
    .await;
    newest().await.expect("there").id.to_string()
}

pub(crate) async fn many_messages_are_decided_after_a_preview<P: Place>() {
    let world = World::<P>::new().await;
    dead(&world, 5).await;
    let tm = Tm::on(&world).with(&["--as", "ana@desk"]);
    let ran = tm.run(&["retry", "--reason", "x"]).ends_with(2);
    assert!(ran.err.contains("no message is named"), "{}", ran.err);
    tm.run(&["retry", "0192", "--exchange", "shop", "--reason", "x"]).ends_with(2);
    tm.run(&["retry", "--exchange", "elsewhere", "--reason", "x"]).ends_with(5);

    let retry = ["retry", "--exchange", "shop", "--limit", "4", "--reason", "the consumer is back"];
    let dry = tm.clone().with(&["--dry-run"]).run(&retry).ends_with(0);
    expect![[r"
        retry 4 message(s), stored from TIME ago to TIME ago:
              4  It could not be delivered, and was given up. Attempts: 1. For example ID
        There are more: these are the newest, and --limit says how many are taken
    "]]
    .assert_eq(&dry.plain());
    let preview = tm.clone().with(&["--dry-run", "--format", "json"]).run(&retry).ends_with(0).json();
    assert_eq!((&preview["messages"], &preview["more"]), (&4.into(), &true.into()), "{preview}");
    let ran = tm.run(&retry).ends_with(2);
    assert!(ran.err.contains("This would retry 4 message(s)") && ran.err.contains("--yes"), "{}", ran.err);
    assert!(tool(&world).await.admin().operations(None, 1).await.expect("reads").is_empty());

    let soon = ["--yes", "--begin-in", "0s", "--look-for", "0s"];
    let ran = tm.clone().with(&soon).run(&retry).ends_with(0);
    expect![[r"
        operation ID is done: retry 4 of 4
    "]]
    .assert_eq(&ran.plain());
    let columns = ["--columns", "progress,action,messages,done,conditions,reason,user"];
    expect![[r"
        progress  action  messages  done  conditions                 reason                user
        done      retry   4         4     state=dead, exchange=shop  the consumer is back  ana@desk
    "]]
    .assert_eq(&tm.clone().with(&columns).run(&["operations", "list"]).ends_with(0).plain());
    let id = tm.clone().with(&["--format", "ids"]).run(&["operations", "list"]).ends_with(0).out;
    let items = tm.clone().with(&["--columns", "position,outcome"]).run(&["operations", "show", id.trim()]);
    assert_eq!(
        items.ends_with(0).plain(),
        "position  outcome\n1         done\n2         done\n3         done\n4         done\n"
    );
    let ran = tm.run(&["operations", "stop", id.trim(), "--reason", "x"]).ends_with(4);
    assert!(ran.err.contains("is over"), "{}", ran.err);
    tm.run(&["operations", "show", "ffff"]).ends_with(5);

    // What is not parked can't be cancelled: each is refused as if it were alone.
    let cancel = ["cancel", "--state", "dead", "--all", "--reason", "never mind"];
    let ran = tm.clone().with(&soon).run(&cancel).ends_with(4);
    assert!(ran.err.contains("is dead: only a parked message can be decided by hand"), "{}", ran.err);
    let messenger = world.messenger().await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders().len(), 4);
}

pub(crate) async fn an_operation_goes_on_after_a_kill_and_decides_none_twice<P: Place>() {
    let world = World::<P>::new().await;
    dead(&world, 60).await;
    let messenger = tool(&world).await;
    let tm = Tm::on(&world).with(&["--yes"]);
    let retry = ["retry", "--all", "--reason", "x", "--rate", "40", "--begin-in", "0s", "--look-for", "0s"];
    let mut child = tm.spawn(&retry);
    let mut id = String::new();
    for done in [7, 15, 33] {
        id = has_done(&messenger, done).await;
        child.kill();
        // Half a minute later.
        run(&world.store(), "UPDATE tm_operation SET held_until = 1").await.expect("lapses");
        child = tm.spawn(&["operations", "run", &id[..18]]);
    }
    let ran = child.ended().ends_with(0);
    assert_eq!(ran.out, format!("operation {id} is done: retry 60 of 60\n"));
    let audit = tm.clone().with(&["--format", "jsonl"]).run(&["audit", "--limit", "1000"]).ends_with(0);
    assert_eq!(audit.out.lines().filter(|line| line.contains("\"retry\"")).count(), 60, "each once");
    let messenger = world.messenger().await;
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders().len(), 60);
}

pub(crate) async fn an_operation_is_stopped_from_anywhere<P: Place>() {
    let world = World::<P>::new().await;
    dead(&world, 30).await;
    let messenger = tool(&world).await;
    let tm = Tm::on(&world);
    let retry =
        ["retry", "--all", "--reason", "x", "--rate", "10", "--begin-in", "0s", "--look-for", "0s", "--yes"];
    let child = tm.spawn(&retry);
    let id = has_done(&messenger, 3).await;
    let stop = ["operations", "stop", &id, "--reason", "look at the first ones"];
    let ran = tm.clone().with(&["--as", "bea@desk"]).run(&stop).ends_with(0);
    assert!(ran.out.contains("was stopped: retry") && ran.out.contains("by bea@desk (cli)"), "{}", ran.out);
    // Some of it was done.
    child.ended().ends_with(3);
    let stopped = messenger.admin().operations(None, 1).await.expect("reads").remove(0);
    assert!((3..30).contains(&stopped.done), "{stopped:?}");

    // Left to the processes over the store, which nobody stops before it begins.
    let leave =
        ["retry", "--all", "--reason", "x", "--begin-in", "1s", "--look-for", "0s", "--yes", "--detach"];
    let ran = tm.run(&leave).ends_with(0);
    assert!(
        ran.out.contains("waits: retry 0 of") && ran.err.contains("no process over this store that could"),
        "{}",
        ran.err
    );
    let process = world.messenger().await;
    wait_until("all to be delivered", async || world.listener.orders().len() == 30).await;
    world.settled(&process).await;
}

/// Also where the file has one writer, which is busy with what is to be stopped.
pub(crate) async fn an_interruption_stops_an_operation<P: Place>() {
    let world = World::<P>::new().await;
    dead(&world, 100).await;
    let messenger = tool(&world).await;
    let retry =
        ["retry", "--all", "--reason", "x", "--rate", "10", "--begin-in", "0s", "--look-for", "0s", "--yes"];
    let child = Tm::on(&world).spawn(&retry);
    has_done(&messenger, 3).await;
    child.interrupt();
    let ran = child.ended().ends_with(3);
    assert!(
        ran.out.contains("was stopped") && ran.out.contains("interrupted at the terminal"),
        "{}",
        ran.out
    );
    let stopped = messenger.admin().operations(None, 1).await.expect("reads").remove(0);
    assert!((3..100).contains(&stopped.done) && stopped.ended_at.is_some(), "{stopped:?}");
}

/// One message needs a fence that is not given: the others are done, and that is said.
pub(crate) async fn what_needs_a_fence_that_is_elsewhere_is_left_and_the_rest_is_done<P: Place>() {
    let world = World::<P>::new().await;
    let builder = world.elsewhere().builder();
    let process = Process::start(move || async move {
        let messenger = World::<P>::start(builder).await;
        let never = messenger.scope(async { fenced::<()>(&order(2), pending()).await });
        never.await.expect_err("is killed before");
    });
    let messenger = tool(&world).await;
    messenger.migrate().await.expect("migrates");
    world.count(&messenger, MessageState::Half, 1).await;
    process.kill().await;
    let settings = fast().check_back_horizon(Duration::from_millis(1));
    let messenger = world.messenger_with(settings).await;
    world.oracle.say(1, [Reply::Unknown]);
    world.vanish(&messenger, 1).await;
    world.count(&messenger, MessageState::Parked, 2).await;
    assert!(messenger.shutdown(HOUR).await);
    let without = Tm::default().with(&["--database-url", &world.place.url("store"), "--format", "json"]);
    let cancel = ["cancel", "--all", "--reason", "nothing was paid", "--begin-in", "0s", "--yes"];
    let ran = without.run(&cancel).ends_with(3);
    assert_eq!((&ran.json()["done"], &ran.json()["messages"]), (&1.into(), &2.into()), "{}", ran.out);
    assert!(
        ran.err.contains("do it where that fence is") && ran.err.contains("tm operations run"),
        "{}",
        ran.err
    );
    let id = ran.json()["id"].as_str().expect("an id").to_owned();
    Tm::on(&world).run(&["operations", "run", &id]).ends_with(0);
}
