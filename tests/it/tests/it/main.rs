//! What does not depend on the database, or is about several.

mod misconfiguration;
mod tidy;

type World = it::World<it::SqliteFiles>;
