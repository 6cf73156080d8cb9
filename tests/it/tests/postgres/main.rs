//! Every scenario on PostgreSQL, and what only that has.

#[path = "../scenarios/commit_refused.rs"]
mod commit_refused;
#[path = "../scenarios/mod.rs"]
mod scenarios;

type Db = sqlx::Postgres;
type World = it::World<it::PostgresSchemas>;
