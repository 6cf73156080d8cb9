//! Where the tables are: schemas, roles, pools with hooks.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use it::{
    Dialect, Order, PostgresSchemas, ShopError, counted, fast, fenced, fenced_amendable, number, order, run,
    says, texts, wait_until,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use transactional_message::testing::{Recorder, SentMessage};
use transactional_message::{
    Consumer, DatabaseSource, ErrorKind, Message, MessageState, Messenger, RawPayload, Received, Unfinished,
    begin, enter, withhold,
};

use crate::World;

/// A database of the test's own, in which nothing is but the schema `app`; and its URL.
async fn own_database(world: &World) -> (String, String) {
    let name = format!("{}_db", world.place.name());
    world.place.administer(format!("CREATE DATABASE {name}")).await;
    let mut url: url::Url = it::Place::url(&world.place, "shop").parse().expect("a URL");
    url.set_path(&name);
    url.set_query(None);
    let pool = PgPool::connect(url.as_str()).await.expect("connects");
    run(&pool, "CREATE SCHEMA app; CREATE TABLE app.orders (id bigint PRIMARY KEY, message_id uuid)")
        .await
        .expect("creates");
    (name, url.into())
}

/// A pool whose connections are in `app` because of what it does with them.
fn hooked(url: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(2)
        .after_connect(|connection, _| {
            Box::pin(async move { Postgres::run(connection, "SET search_path = app").await.map(drop) })
        })
        .connect_lazy(url)
        .expect("a URL")
}

fn nothing(_: &mut PgConnection, _: Received<RawPayload>) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(std::future::ready(Ok(())))
}

async fn schemas_of_our_tables(pool: &PgPool) -> Vec<String> {
    texts(pool, "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname LIKE 'tm_%'")
        .await
}

/// Pays in all of this, and has its effect.
async fn works(messenger: &Messenger, shop: &PgPool) {
    messenger.migrate().await.expect("migrates");
    messenger.start().await.expect("starts");
    let body = async {
        let mut tx = begin(shop).await?;
        World::write(&mut tx, 1).await?;
        Ok::<_, ShopError>(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect("committed");
    wait_until("the delivery", async || counted(messenger).await.is_some_and(|stats| stats.delivered == 1))
        .await;
}

#[tokio::test]
async fn a_pools_hooks_say_where_the_tables_are() {
    let world = World::new().await;
    let (_, url) = own_database(&world).await;
    let pool = hooked(&url);
    let consumer = Consumer::new("books", pool.clone(), nothing).bind("shop", "#");
    let builder = Messenger::builder(&pool).settings(fast()).data(world.oracle.clone());
    let messenger = builder.fence("orders", &pool).consumer(consumer).build().await.expect("builds");
    works(&messenger, &pool).await;
    assert_eq!(schemas_of_our_tables(&pool).await, ["app"]);
}

#[tokio::test]
async fn a_roles_settings_say_where_the_tables_are() {
    let world = World::new().await;
    let (database, url) = own_database(&world).await;
    let role = world.place.name();
    world
        .place
        .administer(format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; ALTER ROLE {role} IN DATABASE {database} SET search_path = app"
        ))
        .await;
    let admin = PgPool::connect(&url).await.expect("connects");
    run(&admin, format!("GRANT ALL ON SCHEMA app TO {role}; GRANT ALL ON app.orders TO {role}"))
        .await
        .expect("grants");
    let mut url: url::Url = url.parse().expect("a URL");
    url.set_username(role).expect("a user");
    url.set_password(Some("x")).expect("a password");
    let pool = PgPool::connect_lazy(url.as_str()).expect("a URL");
    let builder = Messenger::builder(url.as_str()).settings(fast()).data(world.oracle.clone());
    let consumer = Consumer::new("books", pool.clone(), nothing).bind("shop", "#");
    let messenger = builder.fence("orders", &pool).consumer(consumer).build().await.expect("builds");
    works(&messenger, &pool).await;
    assert_eq!(schemas_of_our_tables(&admin).await, ["app"]);
}

/// Also where its name needs quotes.
#[tokio::test]
async fn the_schema_can_be_named() {
    let world = World::new().await;
    let (_, url) = own_database(&world).await;
    let admin = PgPool::connect(&url).await.expect("connects");
    run(&admin, "CREATE SCHEMA \"My \"\"Messages\"").await.expect("creates");
    let source = || DatabaseSource::from(url.as_str()).schema("My \"Messages");
    // Somebody else's are found by the search path, too.
    let theirs = Messenger::builder(url.as_str()).data(world.oracle.clone()).fence("orders", url.as_str());
    theirs.build().await.expect("builds").migrate().await.expect("migrates");
    let shop = hooked(&url);
    let consumer = Consumer::new("books", shop.clone(), nothing).bind("shop", "#").schema("My \"Messages");
    let builder = Messenger::builder(source()).settings(fast()).data(world.oracle.clone());
    let messenger = builder.fence("orders", source()).consumer(consumer).build().await.expect("builds");
    works(&messenger, &shop).await;
    assert_eq!(schemas_of_our_tables(&admin).await, ["\"My \"\"Messages\"", "public"]);
    assert_eq!(number(&admin, "SELECT count(*) FROM public.tm_fence").await, 0);
}

#[tokio::test]
async fn without_a_schema_nothing_is_built() {
    let world = World::new().await;
    let (_, url) = own_database(&world).await;
    let build = async |source: DatabaseSource| {
        Messenger::builder(source).data(world.oracle.clone()).build().await.expect_err("nowhere")
    };
    let missing = build(DatabaseSource::from(url.as_str()).schema("missing")).await;
    says(&missing, ErrorKind::Configuration, &["there is no schema `missing`", "CREATE SCHEMA"]);
    let nowhere = PgConnectOptions::clone(&url.parse().expect("a URL")).options([("search_path", "missing")]);
    let nowhere = build(DatabaseSource::from(PgPool::connect_lazy_with(nowhere))).await;
    says(&nowhere, ErrorKind::Configuration, &["`search_path`", "name one by `schema`", "GRANT USAGE"]);
}

/// A database that is really another one, even where a schema has the same name.
#[tokio::test]
async fn another_database_is_refused() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let (_, url) = own_database(&world).await;
    let other = PgPool::connect(&url).await.expect("connects");
    let refused = async |id| {
        let body = async { Ok(begin(&other).await.map(drop)?) };
        messenger.scope(async { fenced::<()>(&order(id), body).await }).await.expect_err("another one")
    };
    told(refused(1).await, ErrorKind::Schema, &["has no fence that it can use", "MessengerBuilder::fence"]);
    let schema = world.place.schema("shop");
    run(&other, format!("CREATE SCHEMA {schema}")).await.expect("creates");
    told(refused(2).await, ErrorKind::Schema, &["has no fence that it can use", "MessengerBuilder::fence"]);
    let source = || DatabaseSource::from(url.as_str()).schema(&schema);
    let theirs = Messenger::builder(source()).data(world.oracle.clone()).fence("orders", source());
    theirs.build().await.expect("builds").migrate().await.expect("migrates");
    told(refused(3).await, ErrorKind::Misuse, &["another database than the messenger's fence"]);
}

/// A role that may write orders and effects, may look into the schemas, and may do nothing with our tables.
async fn clerk(place: &PostgresSchemas) -> String {
    let role = place.name();
    let schemas = format!("{}, {}", place.schema("shop"), place.schema("books"));
    let tables = format!("{}.orders, {}.effects", place.schema("shop"), place.schema("books"));
    place
        .administer(format!(
            "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schemas} TO {role}; GRANT INSERT ON {tables} TO {role}"
        ))
        .await;
    format!("SET LOCAL ROLE {role}")
}

#[tokio::test]
async fn a_body_that_gives_up_its_rights_commits() {
    let world = World::new().await;
    let set_role = &clerk(&world.place).await;
    for lost in [false, true] {
        let recorder = recorder(&world).await;
        recorder.lose_reports(lost);
        for (id, end) in [(1, "as it is"), (2, "amended"), (3, "withheld"), (4, "sends another")] {
            let id = id + 10 * u64::from(lost);
            let body = async {
                let mut tx = begin(&world.shop).await?;
                Postgres::run(&mut tx, set_role).await?;
                World::write(&mut tx, id).await?;
                match end {
                    "amended" => tx.amend(&Order { id, note: "amended".into() })?,
                    "withheld" => withhold()?,
                    "sends another" => {
                        let another = Order { id, note: "another".into() };
                        tx.send(Message::json("shop", "order.another", &another)?)?;
                    }
                    _ => {}
                }
                Ok(tx.commit().await?)
            };
            recorder.scope(fenced(&order(id), body)).await.unwrap_or_else(|error| panic!("{end}: {error}"));
        }
        recorder.settle().await.expect("settles");
        assert_eq!(notes(&recorder), ["", "", "amended", "another"]);
    }
    assert_eq!(world.orders().await, [1, 2, 3, 4, 11, 12, 13, 14]);
}

#[tokio::test]
async fn a_handler_that_gives_up_its_rights_has_its_effect() {
    let world = World::new().await;
    let set_role: &'static str = clerk(&world.place).await.leak();
    world.listener.will(1, [it::Action::Run(set_role)]);
    let messenger = world.messenger().await;
    world.handle(&messenger, 1).await.expect("ok");
    world.count(&messenger, MessageState::Delivered, 1).await;
    assert_eq!((world.effects_of_orders().await, world.listener.heard().len()), (vec![1], 1));
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let shop = world.place.schema("shop");
    let role = world.place.name();
    let business = format!("GRANT USAGE ON SCHEMA {shop} TO {role}; GRANT INSERT ON {shop}.orders TO {role}");
    world.place.administer(format!("CREATE ROLE {role}; {business}")).await;
    // At `begin`: the whole session has the role.
    let pool = hooked_role(&world, role);
    let body = async { Ok(begin(&pool).await.map(drop)?) };
    let error = messenger.scope(async { fenced::<()>(&order(1), body).await }).await.expect_err("no right");
    let remedy = format!("GRANT USAGE ON SCHEMA \"{shop}\"");
    told(error, ErrorKind::Schema, &["permission denied for table tm_fence", &remedy, "INSERT"]);
    // At `commit`, the role may not even look into the schema. The proof needs no right; writing to the row does.
    world.place.administer(format!("REVOKE USAGE ON SCHEMA {shop} FROM {role}")).await;
    let without_rights = async |withheld: bool| {
        let mut tx = begin(&world.shop).await?;
        Postgres::run(&mut tx, format!("SET LOCAL ROLE {role}")).await?;
        if withheld {
            withhold()?;
        }
        Ok(tx.commit().await?)
    };
    messenger.scope(async { fenced(&order(2), without_rights(false)).await }).await.expect("commits");
    let refused = messenger.scope(async { fenced::<()>(&order(3), without_rights(true)).await }).await;
    let error = refused.expect_err("no right");
    told(
        error,
        ErrorKind::Unproven,
        &["permission denied for schema", "was SET in the transaction", &remedy],
    );
    world.shop_is_clean().await;
}

/// What a body is told.
#[track_caller]
fn told(error: ShopError, kind: ErrorKind, parts: &[&str]) {
    let error = error.message();
    let text = error.to_string();
    assert!(
        error.kind() == kind && parts.iter().all(|part| text.contains(part)),
        "{kind:?} {parts:?}: {error:?}"
    );
}

fn hooked_role(world: &World, role: &str) -> PgPool {
    let set_role: &'static str = format!("SET ROLE {role}").leak();
    PgPoolOptions::new()
        .after_connect(move |connection, _| {
            Box::pin(async move { Postgres::run(connection, set_role).await.map(drop) })
        })
        .connect_lazy_with(PgConnectOptions::clone(&world.shop.connect_options()))
}

async fn recorder(world: &World) -> Recorder<Postgres> {
    Recorder::on_with(&world.shop, |builder| builder.data(world.oracle.clone()).settings(fast()))
        .await
        .expect("a recorder")
}

/// The notes of all that was sent, sorted.
fn notes(recorder: &Recorder<Postgres>) -> Vec<String> {
    let note = |sent: SentMessage| sent.payload["note"].as_str().expect("a text").to_owned();
    let mut notes: Vec<_> = recorder.sent().into_iter().map(note).collect();
    notes.sort_unstable();
    notes
}

/// A nested transaction that was rolled back leaves its savepoint, in which a row gets another `xmin`.
#[tokio::test]
async fn a_body_amends_after_a_nested_transaction_was_rolled_back() {
    let world = World::new().await;
    let recorder = recorder(&world).await;
    for (id, how) in [(1, "rolled back"), (2, "dropped"), (3, "committed"), (4, "left open")] {
        let body = async {
            let mut tx = begin(&world.shop).await?;
            if how == "left open" {
                Postgres::run(&mut tx, "SAVEPOINT mine").await?;
            } else {
                let mut nested = tx.begin().await?;
                Postgres::run(&mut nested, format!("INSERT INTO orders (id) VALUES ({id}00)")).await?;
                match how {
                    "rolled back" => nested.rollback().await?,
                    "dropped" => drop(nested),
                    _ => nested.commit().await?,
                }
            }
            World::write(&mut tx, id).await?;
            tx.amend(&Order { id, note: how.into() })?;
            Ok(tx.commit().await?)
        };
        let called = recorder.scope(fenced_amendable(&order(id), body)).await;
        called.unwrap_or_else(|error| panic!("{how}: {error}"));
    }
    recorder.settle().await.expect("settles");
    assert_eq!(notes(&recorder), ["committed", "dropped", "left open", "rolled back"]);
    assert_eq!(world.orders().await, [1, 2, 3, 4, 300]);
}

/// The server ends sessions that are idle in a transaction.
#[tokio::test]
async fn a_bare_connection_is_not_left_in_a_transaction() {
    let world = World::new().await;
    let recorder = recorder(&world).await;
    let pool = it::Place::pool(&world.place, "shop", 1);
    let mut bare = PgConnection::connect_with(&pool.connect_options()).await.expect("connects");
    let mut lent = pool.acquire().await.expect("acquires");
    for (id, amends) in [(1, false), (2, true)] {
        let body = async {
            let mut tx = begin(&mut bare).await?;
            World::write(&mut tx, id).await?;
            if amends {
                tx.amend(&order(id))?;
            }
            Ok(tx.commit().await?)
        };
        recorder.scope(fenced(&order(id), body)).await.expect("committed");
        let body = async { Ok(begin(&mut lent).await?.commit().await?) };
        recorder.scope(fenced(&order(10 + id), body)).await.expect("committed");
        let idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND pid IN";
        let mut pids = Postgres::numbers(&mut bare, "SELECT pg_backend_pid()::bigint").await.expect("reads");
        pids.extend(Postgres::numbers(&mut lent, "SELECT pg_backend_pid()::bigint").await.expect("reads"));
        let body = async { Ok(begin(&mut bare).await?.commit().await?) };
        recorder.scope(fenced(&order(20 + id), body)).await.expect("committed");
        let body = async { Ok(begin(&mut lent).await?.commit().await?) };
        recorder.scope(fenced(&order(30 + id), body)).await.expect("committed");
        assert_eq!(number(&world.shop, format!("{idle} ({}, {})", pids[0], pids[1])).await, 0);
    }
}

/// What the client has given up ends at the server, too.
#[tokio::test]
async fn a_count_that_takes_too_long_ends_and_is_the_only_one() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let name = world.place.name();
    let counting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND state = 'active' AND \
         pid <> pg_backend_pid() AND query LIKE 'SELECT 0::bigint, count(*)%'"
    );
    let mut blocker = world.store().acquire().await.expect("acquires");
    Postgres::run(&mut blocker, "BEGIN; LOCK TABLE tm_message IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locks");
    let mut counts = std::pin::pin!(join_all((0..8).map(|_| messenger.stats())));
    let mut most = 0;
    let counts = loop {
        tokio::select! {
            counts = &mut counts => break counts,
            now = number(&world.shop, &counting) => most = most.max(now),
        }
    };
    assert!(counts.iter().all(Result::is_err), "the table is locked");
    assert_eq!(most, 1, "one count at a time");
    wait_until("the statement to end", async || number(&world.shop, &counting).await == 0).await;
    Postgres::run(&mut blocker, "ROLLBACK").await.expect("unlocks");
    wait_until("the store to be back", async || messenger.stats().await.is_ok()).await;
}

/// However many finished messages are kept.
#[tokio::test]
async fn what_is_unfinished_is_counted_without_reading_the_rest() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    world.pay(&messenger, 1).await.expect("ok");
    world.settled(&messenger).await;
    let store = world.store();
    run(
        &store,
        "INSERT INTO tm_message (id, call_id, state, answered_by, function, check_after, created_at, finished_at, \
         exchange, routing_key, content_type, headers, payload) SELECT gen_random_uuid(), gen_random_uuid(), 3, 'nobody', \
         '', 0, 0, 9e15, '', '', '', '[]', '' FROM generate_series(1, 20000)",
    )
    .await
    .expect("inserts");
    run(&store, "VACUUM ANALYZE tm_message").await.expect("runs");
    let schema = world.place.schema("store");
    let reads = format!(
        "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = '{schema}' AND relname = 'tm_message')::bigint \
         + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND relname = 'tm_message')"
    );
    // The workers read some, too.
    messenger.shutdown(Duration::from_secs(10)).await;
    let messenger = world.builder().build().await.expect("builds");
    let before = number(&store, &reads).await;
    for _ in 0..20 {
        assert_eq!(messenger.unfinished().await.expect("counts"), Unfinished::default());
    }
    // On the same connection, so that the server counts those above with it.
    assert_eq!(messenger.stats().await.expect("counts").delivered, 20_001);
    messenger.shutdown(Duration::from_secs(10)).await;
    let read = async || number(&store, &reads).await - before;
    wait_until("the server's statistics", async || read().await >= 20_000).await;
    assert!(read().await < 40_000, "{} rows", read().await);
}

/// `tm_fence_done` and `tm_fence_add` have the rights of the tables' owner, and anybody may call them.
#[tokio::test]
async fn nobody_can_turn_a_row_that_was_committed_into_done() {
    let world = World::new().await;
    let messenger = world.messenger().await;
    let mut tx = world.shop.begin().await.expect("begins");
    let body = async {
        let _entered = enter(&mut tx).await?;
        Err::<(), _>(ShopError::Declined)
    };
    messenger.scope(async { fenced(&order(1), body).await }).await.expect_err("declined");
    tx.commit().await.expect("commits");
    let forged = "SELECT tm_fence_done(call_id, 'x') FROM tm_fence";
    let error = run(&world.shop, forged).await.expect_err("it is not of this transaction");
    assert!(error.to_string().contains("is not in this transaction"), "{error}");
    let forged = "SELECT tm_fence_add(call_id, gen_random_uuid()) FROM tm_fence";
    let error = run(&world.shop, forged).await.expect_err("it is not of this transaction");
    assert!(error.to_string().contains("is not in this transaction"), "{error}");
    assert_eq!((world.fences(1).await, world.fences(3).await), (0, 1));
}
