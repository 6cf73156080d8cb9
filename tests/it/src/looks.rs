//! What people, probes and dashboards ask of a store that has many messages, for tests of what that reads.

use std::time::{Duration, SystemTime};

use transactional_message::{AuditFilter, Filter, MessageId, MessageState, Messenger};

/// How many messages a test's store has, most of them delivered.
pub const STORED: u32 = 100_000;
/// What is asked of it, and how many rows that may read. The unfinished are counted several times; a search looks for 5000 twice, and
/// then reads and sorts them; an examination consists of several looks.
pub const LOOKS: [(&str, i64); 22] = [
    ("gauges", 25_000),
    ("unfinished", 15_000),
    ("processes", 100),
    ("examine", 70_000),
    ("find", 100),
    ("find_beginning", 100),
    ("explain", 100),
    ("audit", 100),
    ("audit of a message", 100),
    ("list half", 5_000),
    ("list confirmed", 5_000),
    ("list delivered", 500),
    ("list parked", 3_000),
    ("list dead", 500),
    ("search newest", 30_000),
    ("search half", 10_000),
    ("search parked", 40_000),
    ("search dead", 5_000),
    ("search cancelled", 40_000),
    ("search by key", 40_000),
    ("search by reason", 40_000),
    ("search of a day", 20_000),
];

/// The state of the message with this number, in SQL. Nothing but delivered ones is new, as after an incident: of the older half, 14
/// in a hundred are parked, 2 half, 2 cancelled, one confirmed, one dead.
pub const STATE: &str = "CASE WHEN n > 50000 OR n % 50 < 40 THEN 3 WHEN n % 50 = 40 THEN 2 WHEN n % 50 < 48 THEN 4 \
                         WHEN n % 50 = 48 THEN 0 WHEN n % 100 = 49 THEN 1 ELSE 5 END";

/// Looks once.
pub async fn look(messenger: &Messenger, name: &str, id: MessageId) {
    const PAGE: u32 = 100;
    let admin = messenger.admin();
    let list = async |state| drop(admin.list(state, None, PAGE).await.expect("lists"));
    let search = async |filter: Filter| drop(admin.search(&filter, None, PAGE).await.expect("searches"));
    let audit = async |filter: AuditFilter| drop(admin.audit(&filter, PAGE).await.expect("reads"));
    match name {
        "gauges" => drop(admin.gauges().await.expect("counts")),
        "unfinished" => drop(messenger.unfinished().await.expect("counts")),
        "processes" => drop(admin.processes().await.expect("lists")),
        "examine" => drop(admin.examine().await.expect("examines")),
        "find" => drop(admin.find(id).await.expect("finds").expect("is there")),
        "find_beginning" => {
            let found = admin.find_beginning(&id.to_string()[..35], 2).await.expect("finds");
            assert!(found.iter().any(|message| message.id == id), "{found:?}");
        }
        "explain" => drop(admin.explain(id).await.expect("explains")),
        "audit" => audit(AuditFilter::default()).await,
        "audit of a message" => audit(AuditFilter::default().message(id)).await,
        "list half" => list(MessageState::Half).await,
        "list confirmed" => list(MessageState::Confirmed).await,
        "list delivered" => list(MessageState::Delivered).await,
        "list parked" => list(MessageState::Parked).await,
        "list dead" => list(MessageState::Dead).await,
        "search newest" => search(Filter::default()).await,
        "search half" => search(MessageState::Half.into()).await,
        "search parked" => search(MessageState::Parked.into()).await,
        "search dead" => search(MessageState::Dead.into()).await,
        "search cancelled" => search(MessageState::Cancelled.into()).await,
        "search by key" => search(Filter::default().business_key("nobody's")).await,
        "search by reason" => search(Filter::from(MessageState::Parked).reason("nobody's")).await,
        "search of a day" => {
            let day = Duration::from_hours(24);
            search(Filter::default().since(SystemTime::now() - day)).await;
        }
        other => panic!("there is no look `{other}`"),
    }
}
