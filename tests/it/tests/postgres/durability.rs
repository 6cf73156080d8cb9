//! Commits that a crash takes back: what can't be helped is told, and what depends on us is durable.

use it::{Dialect, Fragile, Log, Place, PostgresSchemas, ShopError, fast, fenced, order, run, texts};
use sqlx::Postgres;
use tracing_subscriber::filter::LevelFilter;
use transactional_message::{Messenger, begin};

use crate::World;

/// Notes the setting that a transaction with an order commits with.
const COMMITTED_WITH: &str = "CREATE TABLE committed_with (setting text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO committed_with VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER note AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION note()";

/// The world of a clerk whose sessions have `synchronous_commit` off.
async fn hasty() -> World {
    let world = World::new().await;
    let owner = world.builder().consumer(world.consumer()).build().await.expect("builds");
    owner.migrate().await.expect("migrates");
    run(&world.shop, COMMITTED_WITH).await.expect("creates");
    let place: PostgresSchemas = world.place.as_clerk().await;
    world.place.administer(format!("ALTER ROLE {} SET synchronous_commit = off", place.name())).await;
    World { place, ..world }.elsewhere()
}

/// What a messenger with this store and this fence warns of when it is built.
async fn warnings(place: &PostgresSchemas) -> Vec<String> {
    let (log, _guard) = Log::listen(LevelFilter::WARN);
    let builder =
        Messenger::builder(place.database("store")).settings(fast()).data(it::ScriptedHandler::default());
    builder.fence("orders", place.database("shop")).build().await.expect("builds");
    log.lines_with(&["can lose"])
}

/// On a server of its own: the settings are everybody's.
#[tokio::test]
async fn settings_that_lose_commits_are_named_at_the_start() {
    let server = services::postgres::start().await.expect("a server");
    let place = PostgresSchemas::on(server.url());
    place.create(&["store", "shop"]).await;
    assert_eq!(warnings(&place).await, [] as [String; 0]);
    for set in ["ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"] {
        place.administer(set).await;
    }
    // Sessions learn of it one by one.
    let pool = place.pool("store", 1);
    let settings = async || texts(&pool, "SELECT current_setting('fsync')").await;
    it::wait_until("the setting", async || settings().await == ["off"]).await;
    let warnings = warnings(&place).await;
    let about = |part: &str| warnings.iter().filter(|warning| warning.contains(part)).count();
    assert_eq!(about("the message store can lose messages in a crash of its machine"), 1, "{warnings:?}");
    assert_eq!(about("the business database can lose what messages were sent for"), 1, "{warnings:?}");
    assert_eq!(about("PostgreSQL's `fsync` is off"), 2, "{warnings:?}");
}

#[tokio::test]
async fn a_fenced_transaction_is_durable_and_changes_nothing_else() {
    let world = hasty().await;
    assert_eq!(warnings(&world.place).await, [] as [String; 0], "nothing of ours depends on it");
    let messenger = world.messenger().await;
    let settings = "SELECT current_setting('synchronous_commit') || ' ' || current_setting('lock_timeout')";
    assert_eq!(texts(&world.shop, settings).await, ["off 0"]);
    let body = async {
        let mut tx = begin(&world.shop).await?;
        World::write(&mut tx, 1).await?;
        let within = Postgres::texts(&mut tx, settings).await?;
        Postgres::run(&mut tx, "SET LOCAL synchronous_commit = off").await?;
        tx.commit().await?;
        Ok::<_, ShopError>(within)
    };
    let within = messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    assert_eq!(within, ["on 0"], "the lock time-out is the fence's own");
    assert_eq!(texts(&world.shop, "SELECT setting FROM committed_with").await, ["on"]);
    for _ in 0..world.shop.size() {
        assert_eq!(texts(&world.shop, settings).await, ["off 0"]);
    }
    world.settled(&messenger).await;
    assert_eq!(world.effects_of_orders().await, [1]);
}
