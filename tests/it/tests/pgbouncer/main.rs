//! PostgreSQL behind a transaction pooler: the scenarios in which a session could matter.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

#[path = "../scenarios/commit_refused.rs"]
mod commit_refused;
#[path = "../scenarios"]
mod scenarios {
    mod by_hand;
    mod check_back;
    mod conformance;
    mod consumer_inbox;
    mod crowd;
    mod dropped_caller;
    mod endings;
    mod fence_after_commit;
    mod fence_begin;
    pub(crate) mod fence_commit;
    mod fence_enter;
    mod fence_race;
    mod late_ok;
}
#[path = "../servers"]
mod servers {
    mod cut;
    mod isolation;
    mod side_by_side;
}

type Db = sqlx::Postgres;
type Place = it::PooledDatabase;
type World = it::World<Place>;
