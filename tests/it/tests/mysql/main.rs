//! Every scenario on MySQL or MariaDB, and what only that has.

#[path = "../scenarios/mod.rs"]
mod scenarios;

type Db = sqlx::MySql;
type World = it::World<it::MySqlDatabases>;
