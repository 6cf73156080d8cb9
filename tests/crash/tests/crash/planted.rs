//! The harness can fail: each bug that can be planted is found, where it shows most cheaply, and for
//! the right reason; and without the bug the same run finds nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once};

use transactional_message::fault::BUGS;

use super::{crash, said, succeeds};

/// Without a bug the run finds nothing. Several bugs are found by the same run.
fn succeeds_once(arguments: &'static str) {
    static RUNS: Mutex<BTreeMap<&str, Arc<Once>>> = Mutex::new(BTreeMap::new());
    let new = || Arc::new(Once::new());
    let run = Arc::clone(RUNS.lock().expect("no run panics here").entry(arguments).or_insert_with(new));
    run.call_once(|| succeeds(arguments));
}

/// Looks for the bug until a run finds it for one of the reasons. The kills of a run are a sample: where a busy machine lets
/// few actions through, the bug may not be among them, or shows otherwise first, so there are other runs.
fn find(bug: &str, arguments: &str, reasons: &str) {
    let mut said_in_vain = Vec::new();
    for seed in 1..=4 {
        let run = crash(&arguments.replace("--seed 1 ", &format!("--seed {seed} ")), Some(bug));
        let said = said(&run);
        if !run.status.success() && reasons.split('|').any(|reason| said.contains(reason)) {
            return;
        }
        said_in_vain.push(said);
    }
    panic!("`{bug}` was not found, or not by `{reasons}`:\n{}", said_in_vain.join("\n"));
}

/// A bug with the run that must find it, and what that must say, or else.
macro_rules! planted {
    ($($test:ident: $bug:literal, $arguments:literal, $reasons:literal;)*) => {
        $(
            #[test]
            fn $test() {
                find($bug, $arguments, $reasons);
                succeeds_once($arguments);
            }
        )*

        #[test]
        fn every_bug_is_looked_for() {
            assert_eq!([$($bug),*], BUGS);
        }
    };
}

planted! {
    delivered_before_the_publisher_confirm:
        "mark-before-ack", "--seed 1 --kills 12 --points published,effect-done", " losses (first";
    acknowledged_before_the_commit:
        "ack-before-commit", "--seed 1 --kills 24 --points effect-done", " losses (first";
    inbox_outside_the_transaction:
        "inbox-apart", "--seed 1 --kills 8 --points effect-done", " losses (first";
    commit_not_proven:
        "no-probe", "--seed 1 --kills 4 --points committed --database postgres", " phantoms (first| lies (first";
    error_of_a_fenced_body_believed:
        "cancel-on-err", "--seed 1 --kills 12 --points committed", " losses (first";
    transitions_without_a_condition:
        "unconditional", "--seed 1 --kills 6 --points freeze:committed:confirmed --database postgres",
        " illegal transitions (first";
    returned_messages_ignored:
        "returns-ignored", "play returned --database sqlite", "was returned by RabbitMQ, and counts as delivered";
    return_attributed_to_the_confirm_that_brought_it:
        "returns-believed", "play returned --database sqlite", "was returned by RabbitMQ, and counts as delivered";
    connection_of_a_cut_off_operation_used_again:
        "not-closed", "play cut-off --database mysql",
        "its connection was in a transaction|could not be stored";
    fence_pruned_before_its_message_is_finished:
        "fence-pruned", "--seed 1 --kills 12 --points committed,commit-sent", " losses (first";
    fence_read_and_not_closed:
        "fence-read", "--seed 1 --kills 8 --points freeze:mid-body:committed --database postgres", " losses (first";
    all_that_were_in_hand_blamed:
        "all-blamed", "play killer-over-rabbitmq --database postgres", "messages are dead, and only one is to blame";
    suspects_within_the_process_taken_for_new:
        "never-suspected", "play killer --database sqlite", "has killed 5 processes, and is not dead";
    autocommit_after_a_rollback_underneath:
        "autocommit-kept", "play deadlock --database mysql", " losses (first";
    withhold_that_outlives_its_transaction:
        "withhold-survives", "--seed 1 --kills 12 --points committed", " losses (first";
    messages_of_a_transaction_that_outlive_it:
        "decided-survives", "--seed 1 --kills 12 --points committed --store-in business",
        " phantoms (first| robbed (first";
    one_fence_row_for_all_transactions_of_a_call:
        "decided-share-a-row", "--seed 1 --kills 24 --points commit-sent,fence-inserted",
        " phantoms (first| robbed (first";
    answer_about_a_live_call_forgotten_in_an_outage:
        "answer-forgotten", "play lost-half --database sqlite",
        "in vain for the message of what took effect, whose half is gone";
    questions_counted_before_they_are_asked_alone:
        "counted-at-the-claim", "play deadly-question --database sqlite", "innocents were blamed| deaths, where";
}
