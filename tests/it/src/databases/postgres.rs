//! PostgreSQL: a schema for each of a test's databases, found by the search path.

use futures_util::future::BoxFuture;
use services::Server;
use services::shared::POSTGRES_URL;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool, Pool, Postgres, Row};
use tokio::sync::OnceCell;
use transactional_message::{Consumer, DatabaseSource, MessageId};
use url::Url;
use uuid::Uuid;

use super::dialect::{speaks, statement};
use super::place::{self, fresh_name, is_left};
use super::{Dialect, Fragile, Place, Remote};
use crate::ScriptedConsumer;

/// Schemas in the database that `TM_TEST_POSTGRES_URL` leads to.
#[derive(Clone, Debug)]
pub struct PostgresSchemas {
    /// What all schemas' names begin with.
    name: String,
    server: String,
}

/// The first test of a process cleans up after earlier runs.
static CLEANED: OnceCell<()> = OnceCell::const_new();

/// The URL of the server.
pub(super) fn server() -> String {
    place::server(POSTGRES_URL, "PostgreSQL")
}

/// A connection to the server.
pub(super) async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("the URL of a PostgreSQL server");
    options.connect().await.expect("connects to PostgreSQL")
}

impl PostgresSchemas {
    /// The name of a schema.
    pub fn schema(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// What all names here begin with; the name of the clerk.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements as the user who may do everything.
    pub async fn administer(&self, sql: impl Into<String>) -> u64 {
        Postgres::run(&mut connect(&self.server).await, sql).await.expect("runs")
    }

    /// The same place for another user, who is made, and may read and write rows in all of it.
    pub async fn as_clerk(&self) -> Self {
        let Self { name, server } = self;
        let grants = ["shop", "books", "store"].map(|schema| {
            let schema = self.schema(schema);
            let tables = format!("ON ALL TABLES IN SCHEMA {schema} TO {name}");
            format!(
                "GRANT USAGE ON SCHEMA {schema} TO {name}; GRANT SELECT, INSERT, UPDATE, DELETE {tables};"
            )
        });
        // What was decided is nobody's to change.
        let audit = format!("{}.tm_audit", self.schema("store"));
        let audit = format!(
            "DO $$ BEGIN IF to_regclass('{audit}') IS NOT NULL THEN REVOKE UPDATE, DELETE ON {audit} FROM {name}; END IF; END $$;"
        );
        let sql = format!("CREATE ROLE {name} LOGIN PASSWORD '{name}'; {}{audit}", grants.concat());
        self.administer(sql).await;
        let mut server: Url = server.parse().expect("a URL");
        server.set_username(name).expect("a user");
        server.set_password(Some(name)).expect("a password");
        Self { name: name.clone(), server: server.into() }
    }

    /// Gives the clerk another password.
    pub async fn change_password(&self, password: &str) {
        self.administer(format!("ALTER ROLE {} PASSWORD '{password}'", self.name)).await;
    }

    fn options(&self, name: &str) -> PgConnectOptions {
        self.url(name).parse().expect("a URL")
    }
}

impl Place for PostgresSchemas {
    type Db = Postgres;

    const ONE_SERVER: bool = true;

    async fn new() -> Self {
        let server = server();
        CLEANED
            .get_or_init(|| async {
                let mut connection = connect(&server).await;
                let schemas =
                    Postgres::texts(&mut connection, "SELECT nspname::text FROM pg_namespace").await;
                for schema in schemas.expect("reads").iter().filter(|schema| is_left(schema)) {
                    // Others may be cleaning, too.
                    _ = Postgres::run(&mut connection, format!("DROP SCHEMA {schema} CASCADE")).await;
                }
                let roles = Postgres::texts(&mut connection, "SELECT rolname::text FROM pg_roles").await;
                for role in roles.expect("reads").iter().filter(|role| is_left(role)) {
                    _ = Postgres::run(&mut connection, format!("DROP ROLE {role}")).await;
                }
            })
            .await;
        Self::on(&server)
    }

    async fn create(&self, names: &[&str]) {
        let create = names.iter().map(|name| format!("CREATE SCHEMA {};", self.schema(name)));
        let create = create.collect::<Vec<_>>().concat();
        Postgres::run(&mut connect(&self.server).await, create).await.expect("creates schemas");
    }

    fn url(&self, name: &str) -> String {
        let begin = if self.server.contains('?') { '&' } else { '?' };
        let (server, schema) = (&self.server, self.schema(name));
        format!("{server}{begin}options[search_path]={schema}&application_name={}", self.name)
    }

    fn database_of(pool: &PgPool) -> DatabaseSource {
        pool.into()
    }

    fn pool(&self, name: &str, connections: u32) -> PgPool {
        PgPoolOptions::new().max_connections(connections).connect_lazy_with(self.options(name))
    }

    fn impatient(&self, name: &str) -> PgPool {
        let options = self.options(name).options([("lock_timeout", "10ms")]);
        PgPoolOptions::new().max_connections(4).connect_lazy_with(options)
    }
}

impl Remote for PostgresSchemas {
    async fn cut(&self) -> u64 {
        let name = &self.name;
        self.administer(format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        ))
        .await
    }
}

impl Fragile for PostgresSchemas {
    async fn start() -> Server {
        services::postgres::start().await.expect("a server")
    }

    fn on(server: &str) -> Self {
        Self { name: fresh_name(), server: server.into() }
    }

    fn server(&self) -> Url {
        self.server.parse().expect("a URL")
    }

    fn with_server(&self, server: Url) -> Self {
        Self { name: self.name.clone(), server: server.into() }
    }
}

impl Dialect for Postgres {
    const FOLDER: &'static str = "postgres";
    const SHOP: &'static str = "CREATE TABLE orders (id bigint PRIMARY KEY, message_id uuid)";
    const BOOKS: &'static str = "CREATE TABLE effects (queue text, message_id uuid, body text);
        CREATE TABLE unique_effects (id bigint PRIMARY KEY)";
    const NOW: &'static str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    const RENEWAL_ROUND_TRIPS: u32 = 1;
    const GOES_ON: bool = false;
    const STUCK: &'static str = "SELECT pg_sleep(600)";
    const SWALLOWED: (&'static str, &'static str) =
        ("INSERT INTO unique_effects VALUES (1), (1)", "current transaction is aborted");
    const ENDED_UNDERNEATH: &'static [(&'static [&'static str], bool)] = &[
        (&["COMMIT"], true),
        (&["END"], true),
        (&["COMMIT", "BEGIN"], true),
        (&["COMMIT AND CHAIN"], true),
        (&["COMMIT; BEGIN; SAVEPOINT mine"], true),
        (&["ROLLBACK"], false),
        (&["ROLLBACK", "BEGIN"], false),
        (&["ROLLBACK AND CHAIN"], false),
        (&["ABORT; BEGIN; SAVEPOINT mine"], false),
        (&["not even SQL", "COMMIT"], false),
        (&["not even SQL", "ROLLBACK; BEGIN"], false),
    ];
    const NO_FENCE: &'static [&'static str] = &[
        "DELETE FROM tm_fence",
        "UPDATE tm_fence SET outcome = 2",
        "UPDATE tm_fence SET call_id = gen_random_uuid()",
        "TRUNCATE tm_fence",
        "DROP TABLE tm_fence",
    ];
    const MOVES: &'static str = "SET LOCAL search_path = pg_catalog";
    const LOCKED: &'static str = "lock timeout";
    const ANTIDOTE: &'static str = "DROP TRIGGER poison ON tm_message; DROP FUNCTION poison()";

    fn poison(state: u8) -> String {
        format!(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF new.state = {state} AND new.message_key = '13' THEN RAISE 'poison'; END IF; RETURN new; END $$;
             CREATE TRIGGER poison BEFORE UPDATE ON tm_message FOR EACH ROW EXECUTE FUNCTION poison()"
        )
    }

    const STRANGE: &'static [&'static str] = &["XX000", "P0001", "0A000"];

    fn trouble(state: u8, error: &str) -> String {
        format!(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF new.state = {state} AND old.state <> {state} THEN RAISE 'trouble' USING ERRCODE = '{error}'; END IF;
               RETURN new; END $$;
             CREATE TRIGGER poison BEFORE UPDATE ON tm_message FOR EACH ROW EXECUTE FUNCTION poison()"
        )
    }

    fn hold(table: &str) -> (String, &'static str) {
        (format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE"), "ROLLBACK")
    }

    fn id(id: impl Into<Uuid>) -> String {
        format!("'{}'::uuid", id.into())
    }

    speaks!("$1, $2, $3");
}
