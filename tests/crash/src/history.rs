//! What happened to messages, written down by triggers in the store, and compared with the diagram.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::database::{Database, Kind, with_pool};

/// From one state to another, by their codes; none: the row was not there, or is there no more.
type Step = (Option<i64>, Option<i64>);

/// The arrows of the diagram in ARCHITECTURE.md, and how rows come and go. 0 half, 1 confirmed,
/// 2 cancelled, 3 delivered, 4 parked, 5 dead.
const LEGAL: [Step; 13] = [
    (None, Some(0)),
    (Some(0), Some(1)),
    (Some(0), Some(2)),
    (Some(0), Some(4)),
    (Some(2), Some(1)),
    (Some(4), Some(1)),
    (Some(4), Some(2)),
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(5), Some(1)),
    (Some(5), Some(3)),
    (Some(3), None),
    (Some(2), None),
];

/// Begins to write down.
pub(crate) async fn install(store: &Database) -> anyhow::Result<()> {
    let number = match store.kind() {
        Kind::Sqlite => "INTEGER PRIMARY KEY",
        Kind::Postgres => "bigserial PRIMARY KEY",
        Kind::MySql => "BIGINT AUTO_INCREMENT PRIMARY KEY",
    };
    let id = store.id();
    store
        .run(&format!(
            "CREATE TABLE history (number {number}, id {id} NOT NULL, old_state BIGINT, new_state BIGINT)"
        ))
        .await?;
    for (event, id, old, new) in [
        ("INSERT", "NEW.id", "NULL", "NEW.state"),
        ("UPDATE", "NEW.id", "OLD.state", "NEW.state"),
        ("DELETE", "OLD.id", "OLD.state", "NULL"),
    ] {
        let changed = if event == "UPDATE" { "OLD.state <> NEW.state" } else { "1 = 1" };
        let note = format!("INSERT INTO history (id, old_state, new_state) VALUES ({id}, {old}, {new})");
        store.run(&trigger(store.kind(), event, changed, &note)).await?;
    }
    Ok(())
}

fn trigger(kind: Kind, event: &str, changed: &str, note: &str) -> String {
    let create = format!("CREATE TRIGGER history_{event} AFTER {event} ON tm_message FOR EACH ROW");
    match kind {
        Kind::Sqlite => format!("{create} WHEN {changed} BEGIN {note}; END"),
        Kind::MySql => format!("{create} IF {changed} THEN {note}; END IF"),
        Kind::Postgres => format!(
            "CREATE FUNCTION note_{event}() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF {changed} THEN {note}; END IF; RETURN NULL; END $$; \
             {create} EXECUTE FUNCTION note_{event}()"
        ),
    }
}

/// Every step that the diagram does not have, as a text.
pub(crate) async fn illegal(store: &Database) -> anyhow::Result<Vec<String>> {
    let select = "SELECT id, old_state, new_state FROM history ORDER BY number";
    let steps: Vec<(Uuid, Option<i64>, Option<i64>)> =
        with_pool!(store, pool => sqlx::query_as(AssertSqlSafe(select.to_owned())).fetch_all(pool).await?);
    let illegal = steps.into_iter().filter(|(_, old, new)| !LEGAL.contains(&(*old, *new)));
    let text = |(id, old, new): (Uuid, Option<i64>, Option<i64>)| {
        let state = |code: Option<i64>| code.map_or_else(|| "nothing".to_owned(), |code| code.to_string());
        format!("{id} from {} to {}", state(old), state(new))
    };
    Ok(illegal.map(text).collect())
}
