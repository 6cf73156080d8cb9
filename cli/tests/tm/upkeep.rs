//! What is done about the tables and what is old, and what is seen as it happens, on one database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use it::{Place, Reply, World, fast, listed, number, run, wait_until};
use transactional_message::{Backoff, MessageState};

use crate::run::Tm;

const HOUR: Duration = Duration::from_hours(1);

pub(crate) async fn what_is_old_is_deleted_when_that_is_asked_for<P: Place>() {
    let world = World::<P>::new().await;
    let messenger = world.messenger().await;
    for id in 1..=3 {
        world.pay(&messenger, id).await.expect("ok");
    }
    world.settled(&messenger).await;
    assert!(messenger.shutdown(HOUR).await);
    let tm = Tm::on(&world).with(&["--yes"]);
    assert_eq!(
        tm.run(&["prune", "--older-than", "1h"]).ends_with(0).out,
        "deleted 0 message(s) and 0 operation(s)\n"
    );
    run(&world.store(), "UPDATE tm_message SET finished_at = finished_at - 7200000 WHERE message_key <> '3'")
        .await
        .expect("ages");
    let ran = tm.run(&["prune", "--older-than", "59m"]).ends_with(4);
    assert!(ran.err.contains("finished for less than an hour is kept"), "{}", ran.err);
    let dry = tm.clone().with(&["--dry-run"]).run(&["prune", "--older-than", "1h"]).ends_with(0);
    assert!(
        dry.err.starts_with("2 message(s) that have been finished for 1h would be deleted"),
        "{}",
        dry.err
    );
    // Without its fence, a message stays: its fence row would be nobody's.
    let without = Tm::default().with(&["--database-url", &world.place.url("store"), "--yes"]);
    let ran = without.run(&["prune", "--older-than", "1h"]).ends_with(0);
    assert!(ran.out.starts_with("deleted 0 message(s)"), "{}", ran.out);
    let ran = tm.run(&["prune", "--older-than", "1h", "--audit"]).ends_with(0);
    assert!(ran.out.ends_with("deleted 0 record(s) of the audit\n"), "{}", ran.out);
    assert_eq!(number(&world.store(), "SELECT count(*) FROM tm_message").await, 1);
    assert_eq!(world.fences(1).await, 1, "and their fence rows");
}

pub(crate) async fn a_question_is_asked_now_and_what_becomes_of_it_is_seen<P: Place>() {
    let world = World::<P>::new().await;
    let messenger = world.messenger_with(fast().check_back_backoff(Backoff::new(HOUR, HOUR))).await;
    world.oracle.say(1, [Reply::Unknown, Reply::Confirm]);
    world.vanish(&messenger, 1).await;
    wait_until("it to be asked about in vain", async || {
        let halves = listed(&messenger, MessageState::Half, 1).await;
        halves.iter().flatten().any(|half| half.attempts == 1 && half.held_by.is_none())
    })
    .await;
    let id = messenger.admin().list(MessageState::Half, None, 1).await.expect("lists")[0].id.to_string();
    let tm = Tm::on(&world);
    let ran = tm.clone().with(&["--format", "json"]).run(&["tail"]).ends_with(2);
    assert!(ran.err.contains("--format jsonl, csv or ids"), "{}", ran.err);
    let mut tail = tm.clone().with(&["--format", "jsonl"]).spawn(&["tail", "--every", "100ms"]);
    tm.run(&["ask", &id, "--apply"]).ends_with(2);
    let ran = tm.run(&["ask", &id, "--apply", "--reason", "the oracle is back"]).ends_with(0);
    assert!(ran.err.contains("is due now"), "{}", ran.err);
    world.settled(&messenger).await;
    let ran = tm.run(&["ask", &id, "--apply", "--reason", "again"]).ends_with(4);
    assert!(ran.err.contains("is delivered: only a half message is asked about"), "{}", ran.err);
    // What there is at its first look is not told, so there is more until one is seen.
    let (ids, written) = (AtomicU64::new(2), tail.follow());
    wait_until("another one to be seen", async || {
        world.pay(&messenger, ids.fetch_add(1, Ordering::Relaxed)).await.expect("ok");
        written.lock().expect("whole").contains("\"state\":\"delivered\"")
    })
    .await;
    tail.kill();
}

#[test]
fn migrations_are_written_for_others_to_run() {
    let nowhere = ["--database-url", "postgres://ana:s3cret@127.0.0.1:1/shop", "--table-prefix", "acme_"];
    let ran = Tm::default().with(&nowhere).run(&["migrate", "--sql"]).ends_with(0);
    assert!(ran.out.starts_with("-- message_1.sql\n"), "{}", ran.out);
    assert!(
        ran.out.contains("CREATE TABLE acme_message") && ran.out.contains("-- message_5.sql\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("tm_message") && !ran.out.contains("s3cret"), "{}", ran.out);
    let ran = Tm::default().with(&nowhere).run(&["migrate", "--sql", "--part", "inbox"]).ends_with(0);
    assert!(ran.out.starts_with("-- inbox_1.sql\n"), "{}", ran.out);
    Tm::default().with(&nowhere).run(&["migrate", "--part", "inbox"]).ends_with(2);
    Tm::default().with(&nowhere).run(&["migrate", "--sql", "--check"]).ends_with(2);
}
