//! What a user may not do, and the command that changes it.

use super::broker::Broker;
use super::connection::{code, text};
use super::remedy::quoted;

/// What the broker says when the user lacks a right on something, and what to do; none for any other trouble.
pub(super) fn refused_right(
    broker: &Broker,
    right: &str,
    what: &str,
    error: &lapin::Error,
) -> Option<String> {
    (code(error) == Some(403)).then(|| format!("{}. {}", text(error), grant(broker, right, what)))
}

/// How to give the user of this URL a right. One command sets all three, so the others must be said again.
pub(super) fn grant(broker: &Broker, right: &str, what: &str) -> String {
    let (user, quoted_user, vhost) = (broker.user(), quoted(broker.user()), quoted(broker.vhost()));
    format!(
        "The user `{user}` needs the right `{right}` on {what}: `rabbitmqctl list_user_permissions {quoted_user}` shows the \
         patterns of now, and `rabbitmqctl set_permissions -p {vhost} {quoted_user} CONFIGURE WRITE READ` replaces all three"
    )
}
