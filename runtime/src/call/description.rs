//! A call as it is described before it runs: who answers for it, and what it sends.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use super::calls::Calls;
use crate::check_back::HandlerRegistration;
use crate::error::{Error, ErrorKind};
use crate::message::{Message, Payload};

/// The fence that answers for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    Only,
    Named(String),
}

/// The name of a check-back handler: a text, or what an attribute registered.
#[derive(Clone, Debug)]
pub struct HandlerName {
    pub(super) name: String,
    /// The package that the annotated function is in.
    pub(super) package: Option<&'static str>,
}

impl From<&str> for HandlerName {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), package: None }
    }
}

impl From<String> for HandlerName {
    fn from(name: String) -> Self {
        Self { name, package: None }
    }
}

impl From<&HandlerRegistration> for HandlerName {
    fn from(registered: &HandlerRegistration) -> Self {
        Self { name: registered.name().to_owned(), package: registered.package() }
    }
}

/// A call: everything that the attribute can say, without the attribute. Run it with
/// [`Messenger::call`](crate::Messenger::call).
///
/// ```
/// # use transactional_message::{Call, Error, Messenger};
/// # use serde::Serialize;
/// # #[derive(Serialize)] struct ParcelSent { number: u64 }
/// # async fn order(number: u64) -> Result<(), Error> { Ok(()) }
/// # async fn ship(messenger: &Messenger, number: u64) -> Result<(), Error> {
/// let call = Call::new("ship")
///     .ask_on_err()
///     .send("shipping", "parcel.sent", &ParcelSent { number })
///     .business_key(number)
///     .check_back("ship");
/// messenger.call(call, order(number)).await
/// # }
/// ```
///
/// What is wrong with it (a payload that can't be encoded, a fence that the messenger does not have) is an error of the
/// call, before its body runs.
#[derive(Debug)]
#[must_use = "a call does nothing until it is run"]
pub struct Call {
    pub(super) name: String,
    pub(super) fence: Option<Fence>,
    pub(super) calls: Option<Calls>,
    pub(super) ask_on_err: bool,
    pub(super) check_after: Option<Duration>,
    pub(super) messages: Vec<(Message, Option<HandlerName>)>,
    /// Handlers that were named for no message, since there was nothing to make one of. They answer for what the body sends.
    pub(super) idle: Vec<HandlerName>,
    /// Where those begin that what is said next is about.
    last: Option<usize>,
    /// The first mistake; reported when the call is run.
    pub(super) broken: Option<Error>,
}

impl Call {
    /// A call that sends nothing yet. `name` stands in logs, in errors, and with the stored messages.
    pub fn new(name: impl Display) -> Self {
        Self {
            name: name.to_string(),
            fence: None,
            calls: None,
            ask_on_err: false,
            check_after: None,
            messages: Vec::new(),
            idle: Vec::new(),
            last: None,
            broken: None,
        }
    }

    /// `fence`: the messenger's only fence answers for all messages.
    pub fn fence(mut self) -> Self {
        self.fence = Some(Fence::Only);
        self
    }

    /// `fence = "name"`: the fence with this name does.
    pub fn fence_named(mut self, name: impl Display) -> Self {
        self.fence = Some(Fence::Named(name.to_string()));
        self
    }

    /// `on_err = ask`: an `Err` of the body can hide a success, so that the handler is asked about it, too.
    pub const fn ask_on_err(mut self) -> Self {
        self.ask_on_err = true;
        self
    }

    /// `check_after = …`: how long after the call's process vanished a handler may first be asked. Default:
    /// [`Settings::check_after`](crate::Settings::check_after).
    pub const fn check_after(mut self, after: Duration) -> Self {
        self.check_after = Some(after);
        self
    }

    /// `exchange`, `routing_key` and `message`: sends `message` as JSON.
    pub fn send<M: Payload + ?Sized>(
        mut self,
        exchange: impl Display,
        routing_key: impl Display,
        message: &M,
    ) -> Self {
        match Message::json(exchange, routing_key, message) {
            Ok(message) => self.message(message),
            Err(error) => {
                self.broken.get_or_insert(error);
                self
            }
        }
    }

    /// `exchange`, `routing_key` and `messages`: sends each of `messages` as JSON. What is said next is about all of them.
    pub fn send_each<M: Payload>(
        mut self,
        exchange: impl Display,
        routing_key: impl Display,
        messages: impl IntoIterator<Item = M>,
    ) -> Self {
        let first = self.messages.len();
        for message in messages {
            self = self.send(&exchange, &routing_key, &message);
        }
        self.last = Some(first);
        self
    }

    /// `exchange`, `routing_key`, `message` and `content_type`: sends `body` as it is, in a format of your own.
    pub fn send_bytes(
        self,
        exchange: impl Display,
        routing_key: impl Display,
        content_type: impl Display,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        self.message(Message::bytes(exchange, routing_key, content_type, body))
    }

    /// Sends a message that was made before.
    pub fn message(mut self, message: Message) -> Self {
        self.last = Some(self.messages.len());
        self.messages.push((message, None));
        self
    }

    /// `business_key = …`: of the last message.
    pub fn business_key(self, key: impl Display) -> Self {
        let key = key.to_string();
        self.change_last("business_key", |message, _| message.business_key = Some(key.clone()))
    }

    /// `headers = …`: of the last message.
    pub fn headers<K: Display, V: Display>(self, headers: impl IntoIterator<Item = (K, V)>) -> Self {
        let headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.change_last("headers", |message, _| message.headers.extend_from_slice(&headers))
    }

    /// `type = …`: of the last message.
    pub fn message_type(self, name: impl Display) -> Self {
        let name = name.to_string();
        self.change_last("message_type", |message, _| message.message_type = Some(name.clone()))
    }

    /// `delay = …`: of the last message. See [`Message::delay`].
    pub fn delay(self, delay: Duration) -> Self {
        self.replace_last("delay", |message| message.delay(delay))
    }

    /// `deliver_at = …`: of the last message. See [`Message::deliver_at`].
    pub fn deliver_at(self, time: SystemTime) -> Self {
        self.replace_last("deliver_at", |message| message.deliver_at(time))
    }

    /// `expires_in = …`: of the last message. See [`Message::expires_in`].
    pub fn expires_in(self, time: Duration) -> Self {
        self.replace_last("expires_in", |message| message.expires_in(time))
    }

    /// `priority = …`: of the last message. See [`Message::priority`].
    pub fn priority(self, priority: u8) -> Self {
        self.replace_last("priority", |message| message.priority(priority))
    }

    /// `check_back = …`: this handler answers for the last message.
    pub fn check_back(mut self, handler: impl Into<HandlerName>) -> Self {
        let handler = handler.into();
        if self.last == Some(self.messages.len()) {
            self.idle.push(handler);
            return self;
        }
        self.change_last("check_back", |_, named| *named = Some(handler.clone()))
    }

    pub(crate) fn run_by(mut self, calls: &Calls) -> Self {
        self.calls = Some(calls.clone());
        self
    }

    fn replace_last(self, what: &str, change: impl Fn(Message) -> Message) -> Self {
        self.change_last(what, |message, _| *message = change(message.clone()))
    }

    fn change_last(
        mut self,
        what: &str,
        mut change: impl FnMut(&mut Message, &mut Option<HandlerName>),
    ) -> Self {
        match self.last {
            Some(first) => {
                self.messages[first..].iter_mut().for_each(|(message, handler)| change(message, handler));
            }
            // Of a message that could not be encoded: that is what is reported.
            None if self.broken.is_some() => {}
            None => {
                let text = format!(
                    "`{}` says `{what}` before there is a message: it is about the last one",
                    self.name
                );
                self.broken = Some(Error::new(ErrorKind::Misuse, text));
            }
        }
        self
    }
}
