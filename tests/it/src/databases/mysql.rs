//! MySQL and MariaDB: databases of the test's own on one server.

use futures_util::future::BoxFuture;
use services::Server;
use services::shared::MYSQL_URL;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{ConnectOptions, MySql, MySqlConnection, MySqlPool, Pool, Row};
use tokio::sync::OnceCell;
use transactional_message::{Consumer, DatabaseSource, MessageId};
use url::Url;
use uuid::Uuid;

use super::dialect::{speaks, statement};
use super::place::{self, fresh_name, is_left};
use super::{Dialect, Fragile, Place, Remote};
use crate::ScriptedConsumer;

/// Databases on the server that `TM_TEST_MYSQL_URL` leads to.
#[derive(Clone, Debug)]
pub struct MySqlDatabases {
    /// What all databases' names begin with.
    name: String,
    server: Url,
}

/// The first test of a process cleans up after earlier runs.
static CLEANED: OnceCell<()> = OnceCell::const_new();

impl MySqlDatabases {
    /// The server's sessions: `id`, `db`, `info`, which is what they run. MySQL's own PROCESSLIST fails (3854) over statements
    /// of other tests, for which its character set has no room.
    pub const SESSIONS: &str = "(SELECT \
        /*!80000 PROCESSLIST_ID id, PROCESSLIST_DB db, PROCESSLIST_INFO info FROM performance_schema.threads */ \
        /*M!100000 id, db, info FROM information_schema.PROCESSLIST */) sessions";

    /// The name of a database on the server.
    pub fn database_name(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// A connection to the server, without a database.
    pub async fn connect(&self) -> MySqlConnection {
        let options: MySqlConnectOptions = self.server.as_str().parse().expect("the URL of a MySQL server");
        options.connect().await.expect("connects to MySQL")
    }

    /// The same place for another user, who is made, and may read and write rows in all of it.
    pub async fn as_clerk(&self) -> Self {
        let Self { name, server } = self;
        let mut connection = self.connect().await;
        let mut grants = Vec::new();
        for database in ["shop", "books", "store"].map(|database| self.database_name(database)) {
            let sql = format!(
                "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{database}'"
            );
            let tables = MySql::texts(&mut connection, sql).await.expect("reads");
            if tables.is_empty() {
                grants.push(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {name};"));
            }
            for table in tables {
                // What was decided is nobody's to change.
                let rights = if table == "tm_audit" { "" } else { ", UPDATE, DELETE" };
                grants.push(format!("GRANT SELECT, INSERT{rights} ON {database}.{table} TO {name};"));
            }
        }
        let grants = grants.concat();
        let sql = format!("CREATE USER {name} IDENTIFIED BY '{name}'; {grants}");
        MySql::run(&mut connection, sql).await.expect("makes a user");
        let mut server = server.clone();
        server.set_username(name).expect("a user");
        server.set_password(Some(name)).expect("a password");
        Self { name: name.clone(), server }
    }

    /// Gives the clerk another password.
    pub async fn change_password(&self, password: &str) {
        let sql = format!("ALTER USER {} IDENTIFIED BY '{password}'", self.name);
        MySql::run(&mut self.connect().await, sql).await.expect("alters a user");
    }

    async fn clean(&self) {
        let mut connection = self.connect().await;
        let sql = "SELECT CAST(SCHEMA_NAME AS CHAR) FROM information_schema.SCHEMATA";
        let databases = MySql::texts(&mut connection, sql).await.expect("reads");
        for database in databases.iter().filter(|database| is_left(database)) {
            MySql::run(&mut connection, format!("DROP DATABASE IF EXISTS {database}")).await.expect("drops");
        }
        let users = MySql::texts(&mut connection, "SELECT CAST(User AS CHAR) FROM mysql.user").await;
        for user in users.expect("reads").iter().filter(|user| is_left(user)) {
            MySql::run(&mut connection, format!("DROP USER IF EXISTS {user}")).await.expect("drops");
        }
    }
}

impl Place for MySqlDatabases {
    type Db = MySql;

    const ONE_SERVER: bool = true;

    async fn new() -> Self {
        let new = Self::on(&place::server(MYSQL_URL, "MySQL or MariaDB"));
        CLEANED.get_or_init(|| new.clean()).await;
        new
    }

    async fn create(&self, names: &[&str]) {
        let mut connection = self.connect().await;
        for name in names {
            let create = format!("CREATE DATABASE {}", self.database_name(name));
            MySql::run(&mut connection, create).await.expect("creates a database");
        }
    }

    fn url(&self, name: &str) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.database_name(name));
        url.into()
    }

    fn database_of(pool: &MySqlPool) -> DatabaseSource {
        pool.into()
    }

    fn pool(&self, name: &str, connections: u32) -> MySqlPool {
        let options = self.url(name).parse().expect("a URL");
        MySqlPoolOptions::new().max_connections(connections).connect_lazy_with(options)
    }

    fn impatient(&self, name: &str) -> MySqlPool {
        let options = self.url(name).parse().expect("a URL");
        MySqlPoolOptions::new()
            .max_connections(4)
            .after_connect(|connection, _| {
                let sql = "SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = 1";
                Box::pin(async move { MySql::run(connection, sql).await.map(drop) })
            })
            .connect_lazy_with(options)
    }
}

impl Remote for MySqlDatabases {
    async fn cut(&self) -> u64 {
        let mut connection = self.connect().await;
        let sql = format!("SELECT CAST(id AS SIGNED) FROM {} WHERE db LIKE '{}%'", Self::SESSIONS, self.name);
        let mut ended = 0;
        for session in MySql::numbers(&mut connection, sql).await.expect("reads") {
            // It may just have ended by itself.
            ended += u64::from(MySql::run(&mut connection, format!("KILL {session}")).await.is_ok());
        }
        ended
    }
}

impl Fragile for MySqlDatabases {
    async fn start() -> Server {
        services::mariadb::start().await.expect("a server")
    }

    fn on(server: &str) -> Self {
        let mut server: Url = server.parse().expect("a URL");
        server.set_path("");
        Self { name: fresh_name(), server }
    }

    fn server(&self) -> Url {
        self.server.clone()
    }

    fn with_server(&self, server: Url) -> Self {
        Self { name: self.name.clone(), server }
    }
}

impl Dialect for MySql {
    const FOLDER: &'static str = "mysql";
    const SHOP: &'static str =
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, message_id BINARY(16)) ENGINE = InnoDB";
    const BOOKS: &'static str =
        "CREATE TABLE effects (queue VARCHAR(255), message_id BINARY(16), body LONGTEXT) ENGINE = InnoDB;
         CREATE TABLE unique_effects (id BIGINT PRIMARY KEY) ENGINE = InnoDB";
    const NOW: &'static str = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)";
    const RENEWAL_ROUND_TRIPS: u32 = 6;
    const GOES_ON: bool = true;
    const STUCK: &'static str = "SELECT SLEEP(600)";
    const SWALLOWED: (&'static str, &'static str) = ("ROLLBACK; not even SQL", "ended underneath");
    const ENDED_UNDERNEATH: &'static [(&'static [&'static str], bool)] = &[
        (&["COMMIT"], true),
        (&["COMMIT", "BEGIN"], true),
        (&["COMMIT AND CHAIN"], true),
        (&["COMMIT; BEGIN; SAVEPOINT mine"], true),
        (&["ROLLBACK"], false),
        (&["ROLLBACK", "BEGIN"], false),
        (&["ROLLBACK AND CHAIN"], false),
        (&["ROLLBACK; BEGIN; SAVEPOINT mine"], false),
        (&["BEGIN"], true),
        // What MySQL commits before, whether it fails or not.
        (&["CREATE TABLE IF NOT EXISTS orders (id BIGINT)"], true),
        (&["CREATE TABLE orders (id BIGINT)"], true),
        (&["ALTER TABLE orders COMMENT 'committed'"], true),
        (&["LOCK TABLES orders WRITE; UNLOCK TABLES"], true),
        (&["SET autocommit = 0; SET autocommit = 1"], true),
    ];
    const NO_FENCE: &'static [&'static str] = &[
        "DELETE FROM tm_fence",
        "UPDATE tm_fence SET outcome = 2",
        "UPDATE tm_fence SET call_id = UNHEX(REPLACE(UUID(), '-', ''))",
    ];
    const MOVES: &'static str = "USE information_schema";
    const LOCKED: &'static str = "Lock wait timeout";
    const ANTIDOTE: &'static str = "DROP TRIGGER poison";

    fn poison(state: u8) -> String {
        format!(
            "CREATE TRIGGER poison BEFORE UPDATE ON tm_message FOR EACH ROW
             IF new.state = {state} AND new.message_key = '13' THEN
               SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'poison';
             END IF"
        )
    }

    const STRANGE: &'static [&'static str] = &["1105", "1461", "1615", "9001"];

    fn trouble(state: u8, error: &str) -> String {
        format!(
            "CREATE TRIGGER poison BEFORE UPDATE ON tm_message FOR EACH ROW
             IF new.state = {state} AND old.state <> {state} THEN
               SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {error}, MESSAGE_TEXT = 'trouble';
             END IF"
        )
    }

    fn hold(table: &str) -> (String, &'static str) {
        (format!("LOCK TABLES {table} READ"), "UNLOCK TABLES")
    }

    fn id(id: impl Into<Uuid>) -> String {
        format!("x'{}'", id.into().simple())
    }

    speaks!("?, ?, ?");
}
