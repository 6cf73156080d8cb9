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

#[test]
fn lost_half_on_postgres() {
    succeeds("play lost-half --database postgres");
}

#[test]
fn lost_half_on_mysql() {
    succeeds("play lost-half --database mysql");
}

/// The other databases are where bugs are planted.
#[test]
fn killer_within_the_process_on_postgres() {
    succeeds("play killer --database postgres");
}

#[test]
fn killer_within_the_process_on_mysql() {
    succeeds("play killer --database mysql");
}

#[test]
fn deadly_question_on_postgres() {
    succeeds("play deadly-question --database postgres");
}

#[test]
fn deadly_question_on_mysql() {
    succeeds("play deadly-question --database mysql");
}
