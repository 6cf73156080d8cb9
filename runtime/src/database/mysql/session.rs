//! Our own sessions on MySQL: what they are told first, where they find the tables, and what the server must be able
//! to do for them.

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, MySql};

use super::write::PACKET;
use super::{JSON, decoded, schema};
use crate::database::login::Login;
use crate::database::network::RetryingPool;
use crate::message::limits::Limits;
use crate::sql::{Namespace, TablePlace};
use crate::store::StoreError;

/// What our sessions are told first: a statement commits by itself, whatever the server's default is; lock no
/// gaps, wait for a lock only so many seconds, and end a transaction whose client has vanished.
macro_rules! session {
    ($lock_timeout:literal) => {
        concat!(
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION autocommit = 1, time_zone = '+00:00', ",
            "/*M!100300 SESSION idle_transaction_timeout = 3, */ ",
            patience!("6", "6000"),
            ", ",
            "SESSION innodb_lock_wait_timeout = ",
            $lock_timeout
        )
    };
}
pub(super) use session;

/// The way in, with the database of the tables as the session's, and where that is.
pub(super) async fn find(
    login: Login<MySql>,
    place: &TablePlace,
) -> Result<(Login<MySql>, Namespace), StoreError> {
    let database = schema::find(&login, place).await?;
    let namespace = Namespace::mysql(&database, &place.prefix);
    let ours = move |options: MySqlConnectOptions| options.database(&database).disable_statement_logging();
    Ok((login.with(ours).named(&place.prefix), namespace))
}

/// What goes along with the payloads of one statement: names, ids and numbers of the most rows that it can have.
const ROOM: usize = 256 * 1024;

/// Errs when something could never work on this server.
pub(super) async fn check_server(pool: &RetryingPool<MySql>, limits: Limits) -> Result<(), StoreError> {
    // Not each version has each of them.
    let sql = "SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'max_allowed_packet')";
    let rows: Vec<(String, String)> = decoded(&pool.fetch(sql, |query| query).await?)?;
    let value = |name: &str| rows.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if value("log_bin") == Some("ON") && value("binlog_format") == Some("STATEMENT") {
        return Err(StoreError::Refused(
            "MySQL's `binlog_format` is STATEMENT, with which InnoDB refuses to write at READ COMMITTED (1665): set it \
             to ROW or MIXED"
                .into(),
        ));
    }
    let packet = value("max_allowed_packet").and_then(|value| value.parse().ok()).unwrap_or(usize::MAX);
    check_packet(packet, limits)
}

/// A message that a call has amended, and committed, can't be shortened any more: it must fit.
fn check_packet(packet: usize, limits: Limits) -> Result<(), StoreError> {
    let Limits { body_bytes, headers_bytes } = limits;
    let beside = headers_bytes * JSON + ROOM;
    if packet >= body_bytes.max(PACKET) + beside {
        return Ok(());
    }
    let needed = body_bytes.max(PACKET) + beside;
    let most = packet.saturating_sub(beside);
    let lower = if most >= PACKET { format!(", or lower `body_limit` to {most}") } else { String::new() };
    Err(StoreError::Refused(format!(
        "MySQL's `max_allowed_packet` is {packet}, and the settings `body_limit` ({body_bytes}) and `headers_limit` \
         ({headers_bytes}) need {needed}: raise `max_allowed_packet`{lower}"
    )))
}
