//! Every scenario on SQLite, and what only that has.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

#[path = "../scenarios/commit_refused.rs"]
mod commit_refused;
mod one_writer;
#[path = "../scenarios/mod.rs"]
mod scenarios;

type Db = sqlx::Sqlite;
type Place = it::SqliteFiles;
type World = it::World<Place>;
