//! Calls without an annotated function: by what answers for them.

use transactional_message::{Call, Message};

/// What answers for a call.
#[derive(Clone, Debug)]
pub enum AnsweredBy {
    /// The only fence.
    Fence,
    /// The fence with this name.
    NamedFence(String),
    /// The handler with this name answers for each message.
    Handler(String),
}

/// A call with these messages.
pub fn call(answered_by: AnsweredBy, messages: impl IntoIterator<Item = Message>) -> Call {
    let call = Call::new("it::call");
    let (call, handler) = match answered_by {
        AnsweredBy::Fence => (call.fence(), None),
        AnsweredBy::NamedFence(name) => (call.fence_named(name), None),
        AnsweredBy::Handler(name) => (call, Some(name)),
    };
    messages.into_iter().fold(call, |call, message| match &handler {
        Some(name) => call.message(message).check_back(name.as_str()),
        None => call.message(message),
    })
}
