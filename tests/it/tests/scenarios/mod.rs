//! What every database must pass.

mod check_back;
mod conformance;
mod consumer_inbox;
mod consumer_late;
mod consumer_poison;
mod dropped_caller;
mod fence_after_commit;
mod fence_amend;
mod fence_begin;
pub(crate) mod fence_commit;
mod fence_race;
mod fence_rules;
mod janitor;
mod late_ok;
mod lifecycle;
mod logging;
mod operator;
mod operator_fence;
mod outage;
mod outcomes;
mod poison_rows;
mod several_messages;
mod shutdown;
mod slow_body;
mod two_messengers;
