//! Every scenario on PostgreSQL, and what only that has.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

mod clock;
#[path = "../scenarios/commit_refused.rs"]
mod commit_refused;
mod durability;
mod encoding;
mod idle;
mod migrate;
mod places;
mod pool_hook;
mod reads;
#[path = "../scenarios/mod.rs"]
mod scenarios;
mod serializable;
#[path = "../servers/mod.rs"]
mod servers;
mod slow_commit;
mod sqlx_test;

type Db = sqlx::Postgres;
type Place = it::PostgresSchemas;
type World = it::World<Place>;
