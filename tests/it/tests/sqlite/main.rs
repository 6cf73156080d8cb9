//! Every scenario on SQLite, and what only that has.

#[path = "../scenarios/commit_refused.rs"]
mod commit_refused;
mod one_writer;
#[path = "../scenarios/mod.rs"]
mod scenarios;

type Db = sqlx::Sqlite;
type World = it::World<it::SqliteFiles>;
