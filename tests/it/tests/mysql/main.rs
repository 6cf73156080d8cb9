//! Every scenario on MySQL or MariaDB, and what only that has.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

mod autocommit;
mod dropped_statement;
mod encoding;
mod locks;
mod places;
mod pool_hook;
mod reads;
#[path = "../scenarios/mod.rs"]
mod scenarios;
mod server;
#[path = "../servers/mod.rs"]
mod servers;
mod snapshot;
mod unfit;

type Db = sqlx::MySql;
type Place = it::MySqlDatabases;
type World = it::World<Place>;
