//! From what waits to the decision, on one database.

use std::time::Duration;

use expect_test::expect;
use it::{Place, Reply, World, fast, fenced, order};
use transactional_message::{Backoff, MessageState};

use crate::run::{Ran, Tm, plain};

const HOUR: Duration = Duration::from_hours(1);

/// The ids of what a command lists.
fn ids(tm: &Tm, arguments: &[&str]) -> Vec<String> {
    let ran = tm.clone().with(&["--format", "ids"]).run(arguments).ends_with(0);
    ran.out.lines().map(str::to_owned).collect()
}

pub(crate) async fn a_parked_message_is_found_understood_and_confirmed<P: Place>() {
    let world = World::<P>::new().await;
    let messenger = world.messenger_with(fast().check_back_attempts(2)).await;
    world.oracle.say(1, [Reply::Unknown, Reply::Unknown]);
    world.vanish(&messenger, 1).await;
    world.count(&messenger, MessageState::Parked, 1).await;
    let tm = Tm::on(&world).with(&["--as", "ana@desk"]);

    let status = tm.run(&["status", "--fail-on", "parked"]).ends_with(6);
    expect![[r"
        half 0   confirmed 0   parked 1   dead 0   oldest -   lag -   processes 1
        Needs a person: 1 parked: `tm why --state parked` says why, `tm confirm` or `tm cancel` decides.
    "]]
    .assert_eq(&status.plain());
    tm.run(&["status", "--fail-on", "dead,lag=1h"]).ends_with(0);

    expect![[r"
        count  because                                                                                     next                                                                                                    example
        1      Its check-back handler gave no clear answer, although it was asked as often as allowed: 2.  Nothing happens until a person decides; only the late report of its own process could still settle it.  ID
    "]]
    .assert_eq(&tm.run(&["why", "--state", "parked"]).ends_with(0).plain());
    let parked = ids(&tm, &["list", "--state", "parked", "--because", "answered unknown"]);
    let [id] = parked.as_slice() else { panic!("{parked:?}") };
    expect![[r"
        It is parked: a half message that waits for a person. Its check-back handler gave no clear answer, although it was asked as often as allowed: 2. Nothing happens until a person decides; only the late report of its own process could still settle it. Find out first whether the business action took effect: nobody else can tell. Confirm it: the business action took effect. Cancel it: the business action took no effect.
    "]]
    .assert_eq(&tm.run(&["why", id]).ends_with(0).plain());
    expect![[r"
        message ID, parked: no fence answers for it
        a check-back was not simulated: this process does not have the handler `it.handled`: ask where it runs
        confirm would be done
        cancel would be done
        retry would be refused: the message is parked: there is nothing to try again, or it is being worked on
    "]]
    .assert_eq(&tm.run(&["ask", id]).ends_with(0).plain());

    let dry = tm.run(&["confirm", id, "--reason", "the carrier has it", "--dry-run"]).ends_with(0);
    assert_eq!(dry.out, format!("{id} would be confirmed\n"));
    tm.run(&["retry", id, "--reason", "x", "--dry-run"]).ends_with(4);
    world.count(&messenger, MessageState::Parked, 1).await;
    let ran = tm.run(&["confirm", &id[..35], "--reason", "the carrier has it"]).ends_with(0);
    assert_eq!(ran.out, format!("confirmed {id}\n"));
    world.settled(&messenger).await;
    assert_eq!(world.listener.orders(), [1]);
    let ran = tm.run(&["confirm", id, "--reason", "again"]).ends_with(4);
    assert!(ran.err.contains("is delivered: only a parked message can be decided by hand"), "{}", ran.err);

    let audit =
        tm.clone().with(&["--columns", "action,message_id,user,via,reason"]).run(&["audit"]).ends_with(0);
    expect![[r"
        action   message id                            user      via  reason
        confirm  ID  ana@desk  cli  the carrier has it
    "]]
    .assert_eq(&audit.plain());
    let shown = tm.run(&["show", id]).ends_with(0).plain();
    assert!(shown.contains("decided      confirm TIME ago by ana@desk (cli): the carrier has it"), "{shown}");
}

pub(crate) async fn a_fence_is_shown_and_has_the_last_word<P: Place>() {
    let world = World::<P>::new().await;
    let messenger = world.messenger_with(fast()).await;
    world.pay(&messenger, 1).await.expect("ok");
    messenger.scope(async { fenced(&order(2), async { Ok(()) }).await }).await.expect("ok");
    world.count(&messenger, MessageState::Parked, 1).await;
    world.settled(&messenger).await;
    let tm = Tm::on(&world);
    let [delivered] = <[String; 1]>::try_from(ids(&tm, &["list", "--key", "1"])).expect("one");
    let all = tm.clone().with(&["--format", "json"]).run(&["show", &delivered]).ends_with(0).json();
    assert_eq!(all["evidence"]["committed"]["amended"], false, "{all}");
    assert_eq!(all["explanation"]["because"], "acknowledged");
    assert_eq!(all["message"]["state"], "delivered");
    assert_eq!(all["schema"], 1);

    let without = Tm::default().with(&["--database-url", &world.place.url("store")]);
    let shown = without.run(&["show", &delivered]).ends_with(0);
    assert!(shown.out.contains("give it by --fence NAME=URL"), "{}", shown.out);

    let [parked] = <[String; 1]>::try_from(ids(&tm, &["list", "--state", "parked"])).expect("one");
    let shown = tm.run(&["why", &parked]).ends_with(0);
    assert!(shown.out.contains("never began a fenced transaction"), "{}", shown.out);
    let shown = tm.clone().with(&["--language", "zh"]).run(&["why", &parked]).ends_with(0);
    assert!(shown.out.contains("其函数从未开始围栏事务"), "{}", shown.out);
    let doctor = tm.run(&["doctor"]).ends_with(6);
    assert!(
        doctor.out.contains("messages are parked") && doctor.out.contains("tm why --state parked"),
        "{}",
        doctor.out
    );
    // Some are refused, and the rest is done.
    let ran = tm.clone().input(format!("{parked}\n{delivered}\n")).run(&[
        "cancel",
        "-",
        "--reason",
        "nothing was paid",
    ]);
    let Ran { out, err, .. } = ran.ends_with(3);
    assert_eq!(out, format!("cancelled {parked}\n"));
    assert!(err.contains("is delivered"), "{err}");
    world.count(&messenger, MessageState::Cancelled, 1).await;
    let doctor = tm.run(&["doctor"]).ends_with(0);
    assert!(doctor.err.contains("nothing is known to be wrong"), "{}", doctor.err);
    tm.run(&["cancel", "00000000", "--reason", "x"]).ends_with(5);
    // A short beginning may be anything, and so may a word of a table.
    let ran = tm.run(&["cancel", &parked[..4], "--reason", "x"]).ends_with(2);
    assert!(ran.err.contains("too short"), "{}", ran.err);
    let ran = tm.clone().input("0 dead 01\n").run(&["cancel", "-", "--reason", "x"]).ends_with(2);
    assert!(ran.err.contains("--format ids"), "{}", ran.err);
}

pub(crate) async fn dead_messages_are_revived_by_their_ids<P: Place>() {
    let world = World::<P>::new().await;
    let settings = fast().delivery_backoff(Backoff::new(HOUR, HOUR)).delivery_attempts(1);
    // Nobody takes its messages.
    let messenger = World::<P>::start(world.builder().settings(settings)).await;
    for id in 1..=3 {
        world.pay(&messenger, id).await.expect("ok");
    }
    world.count(&messenger, MessageState::Dead, 3).await;
    assert!(messenger.shutdown(HOUR).await);
    let tm = Tm::on(&world);
    let dead = tm.clone().with(&["--format", "ids"]).run(&["list", "--state", "dead"]).ends_with(0);
    // Of each format it is said that there may be more.
    let some =
        tm.clone().with(&["--format", "ids"]).run(&["list", "--state", "dead", "--limit", "2"]).ends_with(0);
    assert!(some.out.lines().count() == 2 && some.err.contains("there may be more: --after"), "{}", some.err);
    let census = tm.clone().with(&["--format", "json"]).run(&["why", "--state", "dead"]).ends_with(0).json();
    assert_eq!(
        (&census["groups"][0]["count"], &census["groups"][0]["cause"]),
        (&3.into(), &"given_up".into())
    );

    // What may be private is shown only to whom says why, and that is kept.
    let refused = tm.run(&["export", "--state", "dead", "--payload"]).ends_with(2);
    assert!(refused.err.contains("--reason"), "{}", refused.err);
    let jsonl = tm.clone().with(&["--format", "jsonl"]);
    let exported =
        jsonl.run(&["export", "--state", "dead", "--payload", "--reason", "to compare"]).ends_with(0);
    assert_eq!(exported.out.lines().count(), 3);
    assert!(exported.out.lines().all(|line| line.contains("\"payload\"")), "{}", exported.out);
    tm.clone().with(&["--format", "ids"]).run(&["export", "--payload", "--reason", "x"]).ends_with(2);
    let csv = tm.clone().with(&["--format", "csv", "--columns", "state,business_key"]);
    assert_eq!(csv.run(&["export"]).ends_with(0).out, "state,business_key\ndead,3\ndead,2\ndead,1\n");
    let views = jsonl.run(&["audit"]).ends_with(0).out;
    assert_eq!(views.lines().filter(|line| line.contains("\"view\"")).count(), 3);

    let ran =
        tm.clone().input(dead.out).run(&["retry", "-", "--reason", "the consumer is back"]).ends_with(0);
    assert_eq!(ran.out.lines().count(), 3);
    let revived = world.messenger().await;
    world.settled(&revived).await;
    let mut orders = world.listener.orders();
    orders.sort_unstable();
    assert_eq!(orders, [1, 2, 3]);
    assert!(ids(&tm, &["list", "--state", "dead"]).is_empty());
    let processes =
        tm.clone().with(&["--columns", "version,services,consumers"]).run(&["processes"]).ends_with(0);
    assert!(plain(&processes.out).contains("default"), "{}", processes.out);
}
