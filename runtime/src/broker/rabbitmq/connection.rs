//! Connecting, what a connection's end means, and when to try again.

use std::io;
use std::ops::Deref;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lapin::tcp::AMQPUriTcpExt;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind, Event};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tracing::Dispatch;

use super::broker::{Broker, place};
use crate::Backoff;
use crate::in_turn::in_turn;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what a new connection needs may take.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// Why something does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectError {
    pub(super) why: String,
    /// Goes on until an operator does something about it.
    pub(super) permanent: bool,
}

impl ConnectError {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), permanent: false }
    }

    pub(super) fn permanent(why: impl Into<String>) -> Self {
        Self { why: why.into(), permanent: true }
    }

    fn at(self, node: &str) -> Self {
        Self { why: format!("{node}: {}", self.why), ..self }
    }

    /// Why no node lets us in. In an order of its own, so that the same trouble is the same text.
    fn of_all(mut all: Vec<Self>) -> Self {
        all.sort_by(|one, other| one.why.cmp(&other.why));
        Self {
            permanent: all.iter().all(|one| one.permanent),
            why: all.into_iter().map(|one| one.why).collect::<Vec<_>>().join("; "),
        }
    }
}

impl From<lapin::Error> for ConnectError {
    fn from(error: lapin::Error) -> Self {
        Self::passing(text(&error))
    }
}

/// What the broker or the client says, without the client's own wrapping.
pub(super) fn text(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(said) => format!("the broker says: {}", said.get_message()),
        ErrorKind::IOError(cause) => cause.to_string(),
        _ => error.to_string(),
    }
}

/// The broker's reply code, if it was the broker that refused.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}

/// Connects to the first node that answers. They are tried in any order, so that the connections of many processes are
/// spread over a cluster. `purpose` becomes part of the connection's name.
pub(super) async fn connect(broker: &Broker, purpose: &str) -> Result<Connected, ConnectError> {
    let mut nodes: Vec<_> = broker.nodes.iter().collect();
    fastrand::shuffle(&mut nodes);
    let attempts: Vec<_> = nodes.into_iter().map(|node| connect_to(broker, node, purpose)).collect();
    in_turn(attempts).await.map_err(ConnectError::of_all)
}

async fn connect_to(broker: &Broker, node: &AMQPUri, purpose: &str) -> Result<Connected, ConnectError> {
    let properties =
        ConnectionProperties::default().with_connection_name(format!("{} {purpose}", broker.name).into());
    let runtime = lapin::runtime::default_runtime()?;
    let tls = broker.tls.clone();
    // Runs on the thread of the new connection.
    let dial = async move |uri: AMQPUri, runtime| {
        hush();
        let dialling = uri.connect_with_config_async(tls.as_ref(), &runtime);
        Ok(timeout(CONNECT_TIMEOUT, dialling).await.map_err(io::Error::from)??)
    };
    let connecting = Connection::connector(node.clone(), runtime, dial, properties);
    let trouble = match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => {
            return Ok(Connected {
                node: place(node),
                events: connection.events_listener().boxed(),
                connection: OwnedConnection(Some(connection)),
            });
        }
        Ok(Err(error)) => refused(&error),
        Err(_) => ConnectError::passing(format!("no answer within {CONNECT_TIMEOUT:?}")),
    };
    // With one node it is clear which.
    Err(if broker.nodes.len() > 1 { trouble.at(&place(node)) } else { trouble })
}

/// A connection, and what happens to it. lapin's listeners take events away from each other, so there
/// is one, from the beginning.
pub(super) struct Connected {
    /// Host and port.
    pub(super) node: String,
    pub(super) connection: OwnedConnection,
    pub(super) events: BoxStream<'static, Event>,
}

/// A connection that ends with its owner. lapin's own does not if a request is dropped that was waiting for its answer: the
/// request of a consumer, for example, which would go on taking messages that nobody handles.
pub(super) struct OwnedConnection(Option<Connection>);

impl Deref for OwnedConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("there until the end")
    }
}

impl Drop for OwnedConnection {
    fn drop(&mut self) {
        if let (Some(connection), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(say_goodbye(connection));
        }
    }
}

/// Does what a new connection needs. Not past its end: lapin leaves some requests without an answer
/// then.
pub(super) async fn set_up<T>(
    connection: &Connection,
    events: &mut BoxStream<'static, Event>,
    doing: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    tokio::select! {
        biased;
        done = doing => done,
        trouble = until_lost(connection, events, |_| {}) => Err(trouble),
        () = sleep(SETUP_TIMEOUT) => {
            Err(ConnectError::passing(format!("exchanges and queues were not set up within {SETUP_TIMEOUT:?}")))
        }
    }
}

/// Keeps this thread out of the log. lapin logs every returned message at WARN, with its body.
///
/// Without a subscriber nothing is set: that would end the forwarding of all records to `log`.
fn hush() {
    if tracing::dispatcher::has_been_set() {
        std::mem::forget(tracing::dispatcher::set_default(&Dispatch::none()));
    }
}

fn refused(error: &lapin::Error) -> ConnectError {
    let said = text(error);
    match code(error) {
        Some(403) => ConnectError::permanent(format!(
            "{said} (check user and password in the URL; the user `guest` may log in from the broker's own host only)"
        )),
        Some(530) => ConnectError::permanent(format!(
            "{said} (check the virtual host in the URL, and that the user has permissions there)"
        )),
        _ if matches!(error.kind(), ErrorKind::ParsingError(_)) => ConnectError::permanent(format!(
            "{said} (this is no AMQP: if it is a port for TLS, begin the URL with `amqps://`)"
        )),
        _ if said.contains("InvalidContentType") => ConnectError::permanent(format!(
            "{said} (this is no TLS: begin the URL with `amqp://`, or give the port for TLS, usually 5671)"
        )),
        _ if said.contains("certificate") => ConnectError::permanent(format!(
            "{said} (a private certificate authority is trusted by `RabbitMq::ca_certificate`; the URL must have the host name of the certificate)"
        )),
        _ => ConnectError::passing(said),
    }
}

/// Waits for the end of a connection. Meanwhile tells when the broker blocks it, with the reason,
/// and when it unblocks it.
pub(super) async fn until_lost(
    connection: &Connection,
    events: &mut BoxStream<'static, Event>,
    blocked: impl Fn(Option<String>),
) -> ConnectError {
    // Before anybody listened.
    if !connection.status().connected() {
        return ConnectError::passing("the connection was lost at once");
    }
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(why) => blocked(Some(why)),
            Event::ConnectionUnblocked => blocked(None),
            // Also sent for a channel.
            Event::Error(error) if !connection.status().connected() => return error.into(),
            _ => {}
        }
    }
    ConnectError::passing("the connection was closed")
}

/// Says good-bye, if that is still possible.
pub(super) async fn close(mut connection: OwnedConnection) {
    if let Some(connection) = connection.0.take() {
        say_goodbye(connection).await;
    }
}

async fn say_goodbye(connection: Connection) {
    // Channels that were let go of just before are closed first: afterwards that is an error in lapin's log.
    let _ = timeout(CLOSE_TIMEOUT, there_and_back(&connection)).await;
    // Whatever came of that: a connection that is not closed goes on taking messages that nobody handles.
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "good-bye".into())).await;
}

/// Waits until RabbitMQ has answered what was asked before on this connection.
pub(super) async fn there_and_back(connection: &Connection) -> lapin::Result<()> {
    connection.create_channel().await?.close(200, "".into()).await
}

/// Attempts to connect: how often in vain, and what the log was told about it.
#[derive(Debug, Default)]
pub(super) struct Reconnect {
    failed: u32,
    told: Option<String>,
}

impl Reconnect {
    /// Notes a failure, in the log if it is news. Says how long to wait.
    pub(super) fn failed(&mut self, broker: &Broker, purpose: &str, trouble: &ConnectError) -> Duration {
        let retry_in = RECONNECT.delay(self.failed);
        self.failed = self.failed.saturating_add(1);
        let why = trouble.why.as_str();
        if self.told.as_deref() == Some(why) {
            tracing::debug!(%broker, purpose, why, ?retry_in, "RabbitMQ: still not connected");
        } else if trouble.permanent {
            tracing::error!(%broker, purpose, why, "RabbitMQ: operator action required; will try again");
        } else {
            tracing::warn!(%broker, purpose, why, "RabbitMQ: not connected; will try again");
        }
        self.told = Some(why.to_owned());
        retry_in
    }

    /// Notes that everything is in order.
    pub(super) fn succeeded(&mut self, broker: &Broker, node: &str, purpose: &str) {
        tracing::info!(%broker, node, purpose, "RabbitMQ: connected");
        *self = Self::default();
    }
}
