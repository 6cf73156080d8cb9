//! A call as generated code describes it: where its answer comes from, and what it sends.

use std::fmt::Display;
use std::time::Duration;

use crate::check_back::Producer;
use crate::error::Error;
use crate::message::{Message, Payload};
use crate::messenger::Messenger;

/// Who answers for a call whose outcome nobody reported. See [`Messenger::call`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnsweredBy {
    /// The messenger's only fence.
    Fence,
    /// The fence with this name.
    NamedFence(String),
    /// The check-back handler with this name.
    Handler(String),
}

/// The name of a message's check-back handler, and its package, if an attribute gave it.
#[derive(Clone, Debug)]
pub(crate) struct HandlerName {
    pub(crate) name: String,
    pub(crate) package: Option<&'static str>,
}

/// A call to be run. Built by generated code and by [`Messenger::call`].
#[derive(Debug)]
#[must_use = "a call does nothing until it is run"]
pub struct Call {
    pub(super) function: String,
    pub(super) answered_by: Option<AnsweredBy>,
    pub(super) messenger: Option<Messenger>,
    pub(super) ask_on_err: bool,
    pub(super) check_after: Option<Duration>,
    pub(super) messages: Vec<(Message, Option<HandlerName>)>,
    /// The first message that could not be encoded; reported when the call is run.
    pub(super) broken: Option<Error>,
}

impl Call {
    pub(crate) fn new(function: String) -> Self {
        Self {
            function,
            answered_by: None,
            messenger: None,
            ask_on_err: false,
            check_after: None,
            messages: Vec::new(),
            broken: None,
        }
    }

    /// `fence`
    pub fn fence(mut self) -> Self {
        self.answered_by = Some(AnsweredBy::Fence);
        self
    }

    /// `fence = "name"`
    pub fn fence_named(mut self, name: &'static str) -> Self {
        self.answered_by = Some(AnsweredBy::NamedFence(name.to_owned()));
        self
    }

    /// `messenger = …`
    pub fn messenger(mut self, messenger: &Messenger) -> Self {
        self.messenger = Some(messenger.clone());
        self
    }

    /// `on_err = ask`
    pub const fn ask_on_err(mut self) -> Self {
        self.ask_on_err = true;
        self
    }

    /// `check_after = …`
    pub const fn check_after(mut self, after: Duration) -> Self {
        self.check_after = Some(after);
        self
    }

    /// `exchange`, `routing_key` and `message`
    pub fn send<M: Payload + ?Sized>(
        mut self,
        exchange: impl Display,
        routing_key: impl Display,
        message: &M,
    ) -> Self {
        match Message::json(exchange, routing_key, message) {
            Ok(message) => self.messages.push((message, None)),
            Err(error) => {
                self.broken.get_or_insert(error);
            }
        }
        self
    }

    /// `key = …`
    pub fn key(self, key: impl Display) -> Self {
        self.change_last(|message| message.key(key))
    }

    /// `headers = …`
    pub fn headers<K: Display, V: Display>(self, headers: impl IntoIterator<Item = (K, V)>) -> Self {
        self.change_last(|message| {
            headers.into_iter().fold(message, |message, (name, value)| message.header(name, value))
        })
    }

    /// `type = …`
    pub fn message_type(self, name: impl Display) -> Self {
        self.change_last(|message| message.message_type(name))
    }

    /// `check_back = …`
    pub fn check_back(mut self, producer: &'static Producer) -> Self {
        if let Some((_, handler)) = self.messages.last_mut() {
            *handler = Some(HandlerName { name: producer.name().to_owned(), package: producer.package() });
        }
        self
    }

    pub(crate) fn answer(&mut self, answered_by: AnsweredBy) {
        self.answered_by = Some(answered_by);
    }

    pub(crate) fn add(&mut self, messages: impl IntoIterator<Item = (Message, Option<HandlerName>)>) {
        self.messages.extend(messages);
    }

    fn change_last(mut self, change: impl FnOnce(Message) -> Message) -> Self {
        if let Some((message, handler)) = self.messages.pop() {
            self.messages.push((change(message), handler));
        }
        self
    }
}
