//! Everything that can happen next, from one moment on.

use std::fmt;

use super::rules::Model;
use super::world::{Call, Message, World};
use super::{body, check, deliver, environment};

/// Who makes a step happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The protocol, the database, the clock: what goes on by itself.
    System,
    /// A person, or the janitor.
    Person,
    /// Something that goes wrong, and need not.
    Fault,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) what: &'static str,
    pub(super) cause: Cause,
    call: u8,
    message: Option<u8>,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.call + 1)?;
        if let Some(message) = self.message {
            write!(f, ", message {}", message + 1)?;
        }
        let fault = if self.cause == Cause::Fault { " (!)" } else { "" };
        write!(f, ": {}{fault}", self.what)
    }
}

/// Collects them.
pub(super) struct Steps<'m> {
    pub(super) model: &'m Model,
    pub(super) world: World,
    found: Vec<(Action, World)>,
}

impl<'m> Steps<'m> {
    pub(super) const fn new(model: &'m Model, world: World) -> Self {
        Self { model, world, found: Vec::new() }
    }

    /// All steps from `world`, into the same memory.
    pub(super) fn from(&mut self, world: World) -> &[(Action, World)] {
        self.world = world;
        self.found.clear();
        environment::time_and_crash(self);
        for (c, call) in world.calls.iter().enumerate() {
            let Some(call) = call else { continue };
            body::steps(self, c, call);
            environment::janitor(self, c, call);
            for (m, message) in call.messages.iter().enumerate() {
                let Some(message) = message else { continue };
                let at = At { c, m };
                body::report(self, at, message);
                check::steps(self, at, call, message);
                deliver::steps(self, at, call, message);
                environment::operator(self, at, call, message);
                environment::clock(self, at, call, message);
            }
        }
        &self.found
    }

    /// Adds a step of the whole world.
    pub(super) fn world(&mut self, cause: Cause, what: &'static str, change: impl FnOnce(&mut World)) {
        self.add(Action { what, cause, call: 0, message: None }, change);
    }

    /// Adds a step of a call.
    pub(super) fn call(
        &mut self,
        c: usize,
        cause: Cause,
        what: &'static str,
        change: impl FnOnce(&mut Call, &Model),
    ) {
        let model = self.model;
        self.add(Action { what, cause, call: index(c), message: None }, |world| {
            change(world.calls[c].as_mut().expect("it is there"), model);
        });
    }

    /// Adds a step of a message.
    pub(super) fn message(
        &mut self,
        at: At,
        cause: Cause,
        what: &'static str,
        change: impl FnOnce(&mut Message, &Model),
    ) {
        let model = self.model;
        self.add(Action { what, cause, call: index(at.c), message: Some(index(at.m)) }, |world| {
            change(at.of(world), model);
        });
    }

    fn add(&mut self, action: Action, change: impl FnOnce(&mut World)) {
        let mut world = self.world;
        change(&mut world);
        if world != self.world {
            self.found.push((action, world));
        }
    }
}

/// Which message.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) c: usize,
    pub(super) m: usize,
}

impl At {
    fn of(self, world: &mut World) -> &mut Message {
        let call = world.calls[self.c].as_mut().expect("it is there");
        call.messages[self.m].as_mut().expect("it is there")
    }
}

fn index(n: usize) -> u8 {
    u8::try_from(n).expect("small")
}
