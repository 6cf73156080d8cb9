//! PostgreSQL behind a transaction pooler: the scenarios in which a session could matter.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

#[path = "../scenarios/commit_refused.rs"]
mod commit_refused;
#[path = "../scenarios/mod.rs"]
mod scenarios;

type Db = sqlx::Postgres;
type World = it::World<it::PooledDatabase>;
