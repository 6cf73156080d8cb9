//! What is said of a message: why it stands where it stands, what happens next, and what would happen if.

use std::time::Duration;

use it::{Log, Process, Reply, answered, fast, fenced, handled, listed, order, run, wait_until};
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{
    Actor, Answered, AuditFilter, Backoff, Cause, Choice, ErrorKind, Evidence, Explanation, Filter, HeldBy,
    MessageId, MessageState, Messenger, Next, Outcome, ProcessInfo, When,
};

use super::operator::newest;
use super::operator_fence::parked_with_a_fence;
use crate::World;

const HOUR: Duration = Duration::from_hours(1);

async fn explain(messenger: &Messenger, id: MessageId) -> Explanation {
    messenger.admin().explain(id).await.expect("explains")
}

async fn is_because(messenger: &Messenger, id: MessageId, cause: Cause) -> bool {
    answered(messenger.admin().explain(id).await).is_some_and(|explanation| explanation.because == cause)
}

/// The process, as soon as it has announced itself.
async fn announced(messenger: &Messenger) -> ProcessInfo {
    let mut process = None;
    wait_until("the process to announce itself", async || {
        process = answered(messenger.admin().processes().await).and_then(|all| all.into_iter().next());
        process.is_some()
    })
    .await;
    process.expect("is there")
}

/// Shuts down, and the process withdraws itself: as long as that takes no time, so that a busy machine may be too slow for it.
async fn withdraws(world: &World, messenger: &Messenger) {
    let (log, _guard) = Log::listen(LevelFilter::DEBUG);
    assert!(messenger.shutdown(HOUR).await);
    let said = log.lines_with(&["this process is gone"]);
    assert_eq!(said.len(), 1, "{said:?}");
    if said[0].contains("Elapsed") {
        run(&world.store(), "DELETE FROM tm_process").await.expect("withdraws");
    }
}

/// Whether an examination finds something like that.
async fn finds(messenger: &Messenger, what: &str) -> bool {
    let found = messenger.admin().examine().await.expect("examines");
    found.iter().any(|finding| finding.what.contains(what))
}

#[tokio::test]
async fn a_running_call_is_told_from_one_that_is_asked_about_and_one_that_waits() {
    let world = World::new().await;
    // Its lease is neither renewed nor over while two looks at it are compared.
    let settings = fast().lease(HOUR).check_back_backoff(Backoff::new(HOUR, HOUR));
    let messenger = world.messenger_with(settings).await;
    let process = announced(&messenger).await;
    assert!(process.is_alive() && process.pid == std::process::id());
    assert_eq!(process.settings["check_back_backoff"], format!("{:?}", Backoff::new(HOUR, HOUR)));

    let (seen, wait) = tokio::sync::oneshot::channel();
    let body = async {
        wait.await.expect("seen");
        Ok(())
    };
    let look = async {
        let id = newest(&messenger, MessageState::Half).await;
        let explanation = explain(&messenger, id).await;
        assert_eq!((explanation.because, explanation.next), (Cause::Running, Next::Report));
        let info = messenger.admin().find(id).await.expect("finds").expect("there");
        assert_eq!(
            info.held_by,
            Some(HeldBy::Process(process.token)),
            "who holds it is one of the processes"
        );
        assert_eq!(explanation.when, When::Until(info.due_at.expect("is held")));
        seen.send(()).expect("waits");
    };
    let order = order(1);
    tokio::join!(messenger.scope(async { handled(&order, body).await }), look).0.expect("ok");
    world.settled(&messenger).await;
    let id = newest(&messenger, MessageState::Delivered).await;
    let explanation = explain(&messenger, id).await;
    assert_eq!((explanation.because, explanation.next), (Cause::Acknowledged, Next::Delete));

    world.oracle.say(2, [Reply::Unknown]);
    world.vanish(&messenger, 2).await;
    let id = newest(&messenger, MessageState::Half).await;
    wait_until("it to be asked about in vain", async || {
        is_because(&messenger, id, Cause::AskedInVain { questions: 1 }).await
    })
    .await;
    let explanation = explain(&messenger, id).await;
    assert!(
        explanation.next == Next::AskHandler && matches!(explanation.when, When::At(_)),
        "{explanation:?}"
    );
    assert_eq!(explanation.choices, [Choice::Repair, Choice::Retry]);
    // Another process, without the handler, says that nobody answers once this one is gone.
    let stranger = World::start(world.builder_on("store").settings(settings)).await;
    assert_eq!(explain(&stranger, id).await.because, Cause::AskedInVain { questions: 1 });
}

#[tokio::test]
async fn a_message_without_a_process_says_so() {
    let world = World::new().await;
    let settings = fast().delivery_backoff(Backoff::new(HOUR, HOUR));
    let gone = World::start(world.builder().settings(settings)).await;
    announced(&gone).await;
    world.pay(&gone, 1).await.expect("ok");
    wait_until("a delivery to fail", async || {
        let confirmed = listed(&gone, MessageState::Confirmed, 1).await;
        confirmed.iter().flatten().any(|message| message.held_by.is_none() && message.reason.is_some())
    })
    .await;
    let id = newest(&gone, MessageState::Confirmed).await;
    assert!(matches!(explain(&gone, id).await.because, Cause::DeliveryFailed { .. } | Cause::NotPublished));
    withdraws(&world, &gone).await;

    let tool = world.builder().build().await.expect("builds");
    tool.check_tables().await.expect("are there");
    assert!(tool.admin().processes().await.expect("reads").is_empty(), "withdrawn at the shutdown");
    let explanation = explain(&tool, id).await;
    assert_eq!((explanation.because, explanation.next), (Cause::NobodyDelivers, Next::Wait));
    assert_eq!(explanation.when, When::Open);
    assert_eq!(explanation.choices, [Choice::StartService]);
    assert!(!finds(&tool, "wait to be delivered").await, "it has not been due for long");
    run(&world.store(), "UPDATE tm_message SET due_at = due_at - 7200000").await.expect("ages");
    assert!(finds(&tool, "wait to be delivered, and no process that has announced itself").await);
}

#[tokio::test]
async fn a_message_whose_process_was_killed_waits_for_another() {
    let world = World::new().await;
    let elsewhere = world.elsewhere();
    let builder = elsewhere.builder();
    let (reached, wait) = tokio::sync::oneshot::channel();
    let process = Process::start(move || async move {
        let messenger = World::start(builder).await;
        let body = async {
            reached.send(()).expect("waits");
            std::future::pending().await
        };
        let _: Result<(), _> = messenger.scope(async { handled(&order(1), body).await }).await;
    });
    wait.await.expect("gets there");
    let tool = world.builder().build().await.expect("builds");
    tool.check_tables().await.expect("are there");
    announced(&tool).await;
    process.kill().await;
    let id = newest(&tool, MessageState::Half).await;
    wait_until("its lease to lapse", async || is_because(&tool, id, Cause::ProcessVanished).await).await;
    // It has been silent for a minute.
    run(&world.store(), "UPDATE tm_process SET seen_at = seen_at - 60000").await.expect("ages");
    let explanation = explain(&tool, id).await;
    assert_eq!((explanation.because, explanation.next), (Cause::NobodyAnswers, Next::Wait));
    assert_eq!(explanation.choices, [Choice::StartAnswerer]);
    run(&world.store(), "UPDATE tm_message SET due_at = due_at - 120000").await.expect("ages");
    assert!(finds(&tool, "wait to be asked about, and no process that has announced itself").await);
}

#[tokio::test]
async fn a_simulation_says_what_would_happen_and_changes_nothing() {
    let world = World::new().await;
    let messenger = world.messenger_with(fast().check_back_attempts(1)).await;
    world.oracle.say(1, [Reply::Unknown, Reply::Confirm, Reply::Error]);
    world.vanish(&messenger, 1).await;
    let id = newest(&messenger, MessageState::Parked).await;
    let before = messenger.admin().find(id).await.expect("finds").expect("there");
    let simulation = messenger.admin().simulate(id).await.expect("simulates");
    assert_eq!(
        (simulation.answer, simulation.evidence),
        (Answered::With(Outcome::Confirm), Evidence::NoFence)
    );
    assert!(simulation.refusals[..2].iter().all(|(_, why)| why.is_none()), "a person may decide");
    assert!(simulation.refusals[2].1.as_ref().is_some_and(|why| why.contains("nothing to try again")));
    let simulation = messenger.admin().simulate(id).await.expect("simulates");
    assert!(matches!(simulation.answer, Answered::Unclear(why) if why.contains("the oracle is asleep")));
    let after = messenger.admin().find(id).await.expect("finds").expect("there");
    assert_eq!((before.state, before.attempts, before.reason), (after.state, after.attempts, after.reason));

    let explanation = explain(&messenger, id).await;
    assert_eq!((explanation.because, explanation.next), (Cause::NoAnswer { questions: 1 }, Next::Decide));
    // What a person did is kept, with who did it.
    let ana = Actor::new("ana@desk", "test");
    messenger.admin().by(&ana).confirm(id, "the carrier has it").await.expect("confirms");
    world.settled(&messenger).await;
    let records = messenger.admin().audit(&AuditFilter::default().message(id), 10).await.expect("reads");
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.action.as_str(), record.user.as_str()), ("confirm", "ana@desk"));
    assert_eq!((record.reason.as_str(), record.evidence.as_deref()), ("the carrier has it", None));
}

#[tokio::test]
async fn a_fences_evidence_is_read_and_nothing_is_closed() {
    for committed in [true, false] {
        let world = World::new().await;
        let (messenger, id) = parked_with_a_fence(&world, committed).await;
        let admin = messenger.admin();
        let simulation = admin.simulate(id).await.expect("simulates");
        let [confirm, cancel, _] = simulation.refusals.map(|(_, why)| why);
        let explanation = explain(&messenger, id).await;
        assert_eq!(explanation.because, Cause::TooOld);
        if committed {
            assert_eq!(simulation.evidence, Evidence::Committed { amended: true });
            assert_eq!(simulation.answer, Answered::With(Outcome::Confirm));
            assert!(confirm.is_none() && cancel.is_some_and(|why| why.contains("took effect")));
            assert_eq!(explanation.choices, [Choice::Confirm]);
        } else {
            assert_eq!(simulation.evidence, Evidence::NoRow);
            assert!(confirm.is_some_and(|why| why.contains("has no row")) && cancel.is_none());
            assert_eq!(explanation.choices, [Choice::Cancel]);
        }
        assert_eq!(world.fences(2).await, 0, "nothing was closed");
        let contents = admin.contents(id, "a customer asked").await.expect("reads").expect("there");
        assert!(!contents.payload.is_empty());
        let records = admin.audit(&AuditFilter::default().message(id), 10).await.expect("reads");
        assert_eq!(records[0].action, "view", "that somebody looked is kept");
        // A tool that has not this fence says so.
        let tool = world.builder_on("store").build().await.expect("builds");
        let error = tool.admin().evidence(id).await.expect_err("has no fence");
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("does not have"), "{error}");
    }
}

#[tokio::test]
async fn messages_are_found_by_what_a_person_knows() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    for id in 1..=3 {
        world.pay(&messenger, id).await.expect("ok");
    }
    messenger.scope(async { fenced(&order(4), async { Ok(()) }).await }).await.expect("ok");
    world.count(&messenger, MessageState::Parked, 1).await;
    world.settled(&messenger).await;
    let admin = messenger.admin();
    let search = async |filter: Filter| admin.search(&filter, None, 10).await.expect("searches").messages;
    let second = search(Filter::default().business_key("2")).await;
    assert_eq!(second.len(), 1);
    let id = second[0].id;
    assert_eq!(search(Filter::default().call_id(second[0].call_id)).await[0].id, id);
    let text = id.to_string();
    let found = admin.find_beginning(&text[..30], 2).await.expect("searches");
    assert_eq!(found.iter().map(|message| message.id).collect::<Vec<_>>(), [id]);
    assert_eq!(
        admin.find_beginning(&text[..3], 2).await.expect("searches").len(),
        2,
        "as many as are wanted"
    );
    let error = admin.find_beginning("order-2", 2).await.expect_err("is no id");
    assert!(error.to_string().contains("hexadecimal"), "{error}");
    let parked = search(Filter::from(MessageState::Parked).reason("WITHOUT calling")).await;
    assert_eq!(parked.len(), 1);
    assert_eq!(explain(&messenger, parked[0].id).await.because, Cause::ForgotBegin);
}
