//! Finding the message that a person means.

use transactional_message::{CallId, Filter, MessageId, MessageInfo, Messenger};

use crate::exit::{Exit, Failure};

/// The one message with this id, of the call with this id, or whose id begins so, with at least so many digits.
pub(super) async fn message(
    messenger: &Messenger,
    text: &str,
    digits: usize,
) -> Result<MessageInfo, Failure> {
    if let Ok(id) = text.parse::<MessageId>() {
        if let Some(message) = messenger.admin().find(id).await? {
            return Ok(message);
        }
        let of_call = Filter::default().call_id(CallId::from_uuid(id.as_uuid()));
        let page = messenger.admin().search(&of_call, None, 2).await?;
        return only(page.messages, text);
    }
    let typed = text.chars().filter(char::is_ascii_hexdigit).count();
    if text.is_empty() || text.len() > 36 || !text.chars().all(|one| one.is_ascii_hexdigit() || one == '-') {
        return Err(Failure::usage(format!("`{text}` is not an id, nor the beginning of one")));
    }
    if typed < digits {
        return Err(Failure::usage(format!(
            "`{text}` is too short for that: type the whole id, or {digits} digits of it"
        )));
    }
    only(messenger.admin().find_beginning(text, 2).await?, text)
}

fn only(mut found: Vec<MessageInfo>, text: &str) -> Result<MessageInfo, Failure> {
    match (found.pop(), found.pop()) {
        (Some(message), None) => Ok(message),
        (Some(one), Some(other)) => Err(Failure::usage(format!(
            "`{text}` begins several ids, {} and {} among them: type more of it",
            one.id, other.id
        ))),
        _ => Err(Failure::new(Exit::NotFound, format!("there is no message `{text}`"))),
    }
}
