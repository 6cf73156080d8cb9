//! Pausing, on one database.

use std::time::Duration;

use expect_test::expect;
use it::{Place, Reply, World, run, wait_until};
use transactional_message::MessageState;

use crate::run::Tm;

pub(crate) async fn what_is_paused_is_said_everywhere_and_goes_on<P: Place>() {
    let world = World::<P>::new().await;
    let messenger = world.messenger().await;
    let tm = Tm::on(&world).with(&["--as", "ana@desk"]);

    tm.run(&["pause", "--exchange", "shop", "--for", "30m"]).ends_with(2);
    tm.run(&["pause", "--for", "30m", "--reason", "x"]).ends_with(2);
    tm.run(&["pause", "--all", "--check-backs", "--for", "30m", "--reason", "x"]).ends_with(2);
    let ran = tm.run(&["pause", "--all", "--for", "60days", "--reason", "x"]).ends_with(4);
    assert!(ran.err.contains("from 1 s to 30 days"), "{}", ran.err);
    let pause = ["pause", "--exchange", "shop", "--for", "30m", "--reason", "the books are closed"];
    let dry = tm.clone().with(&["--dry-run"]).run(&pause).ends_with(0);
    assert_eq!(dry.err, "exchange:shop would be paused for 30m\n");
    let ran = tm.run(&pause).ends_with(0);
    assert_eq!(ran.out, "paused exchange:shop for 30m; processes obey within 5 s\n");
    let ran = tm.run(&["pause", "--queue", "boks", "--for", "1m", "--reason", "x"]).ends_with(0);
    assert!(
        ran.err.contains("no process that has announced itself consumes the queue `boks`"),
        "{}",
        ran.err
    );

    for id in 0.. {
        world.pay(&messenger, id).await.expect("calls go on");
        let confirmed = messenger.admin().list(MessageState::Confirmed, None, 9).await.expect("lists");
        if confirmed.iter().any(|message| message.reason.is_some()) {
            break;
        }
    }
    let ids = tm.clone().with(&["--format", "ids"]);
    let put_off = ["list", "--state", "confirmed", "--because", "paused: exchange:shop"];
    wait_until("one to be put off", async || !ids.run(&put_off).ends_with(0).out.is_empty()).await;
    let id = ids.run(&put_off).out.lines().next().expect("one").to_owned();
    wait_until("the process to announce itself", async || {
        !messenger.admin().processes().await.expect("reads").is_empty()
    })
    .await;
    let status = tm.run(&["status"]).ends_with(0).plain();
    let paused = status.lines().find(|line| line.starts_with("Paused: exchange:shop")).unwrap_or_default();
    assert!(paused.starts_with("Paused: exchange:shop by ana@desk (cli), ends in "), "{status}");
    assert!(paused.ends_with(": the books are closed"), "{status}");
    let why = tm.run(&["why", &id]).ends_with(0).plain();
    assert!(why.contains("A person has paused it. A process of its service publishes it (in"), "{why}");
    let shown = tm.run(&["show", &id]).ends_with(0).plain();
    let history = "history      TIME ago: paused: exchange:shop; the books are closed (ana@desk) (confirmed)";
    assert!(shown.contains(history), "{shown}");

    tm.run(&["resume", "--exchange", "shop"]).ends_with(0);
    world.settled(&messenger).await;
    let ran = tm.run(&["resume", "--exchange", "shop"]).ends_with(5);
    assert!(ran.err.contains("exchange:shop is not paused: `tm status` says what is"), "{}", ran.err);
    let audit =
        tm.clone().with(&["--columns", "action,subject,user,via,reason"]).run(&["audit"]).ends_with(0);
    expect![[r"
        action  subject        user      via  reason
        resume  exchange:shop  ana@desk  cli
        pause   queue:boks     ana@desk  cli  x
        pause   exchange:shop  ana@desk  cli  the books are closed
    "]]
    .assert_eq(&audit.plain());
}

pub(crate) async fn nobody_is_missed_while_check_backs_are_paused<P: Place>() {
    let world = World::<P>::new().await;
    let messenger = world.messenger().await;
    world.oracle.say(1, [Reply::Hang]);
    world.vanish(&messenger, 1).await;
    wait_until("somebody to be asked", async || !world.oracle.questions().is_empty()).await;
    messenger.shutdown(Duration::ZERO).await;
    run(&world.store(), "UPDATE tm_message SET held_by = NULL, due_at = 1").await.expect("waits for long");
    let tm = Tm::on(&world);
    let missed = || {
        let status = tm.run(&["status"]).ends_with(0).out;
        let doctor = tm.run(&["doctor", "--ignore", "can lose what was committed"]).out;
        (status.contains("nobody asks it"), doctor.contains("wait to be asked about"))
    };
    assert_eq!(missed(), (true, true));
    for what in ["--check-backs", "--all"] {
        tm.run(&["pause", what, "--for", "1h", "--reason", "x"]).ends_with(0);
        assert_eq!(missed(), (false, false), "{what}");
        tm.run(&["resume", what]).ends_with(0);
    }
    assert_eq!(missed(), (true, true));
}
