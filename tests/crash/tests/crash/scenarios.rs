//! Directed scenarios. Those that planted bugs must not survive are played there, too.

use super::succeeds;

#[test]
fn ambiguous_commit_on_sqlite() {
    succeeds("play ambiguous-commit --database sqlite");
}

#[test]
fn ambiguous_commit_on_postgres() {
    succeeds("play ambiguous-commit --database postgres");
}

#[test]
fn ambiguous_commit_on_mysql() {
    succeeds("play ambiguous-commit --database mysql");
}
