//! An exhaustive model of the protocol: every order in which everything can happen, to one or two
//! messages, and everything that can go wrong at each moment.
//!
//! `world` is what a moment consists of, `steps` what can happen next (by the `body` and its
//! process, those who `check`, those who `deliver`, time and `environment`), `rules` by which rules,
//! `properties` what must hold, `explore` visits everything. The rules are the runtime's own pure
//! functions: [`Event`](crate::message::state::Event), [`decide`](super::ending::decide), the verdicts of
//! the fence, `rules/answer.rs`. That every database applies an event as `transition` does here is
//! what the conformance suite checks.

mod body;
mod check;
mod deliver;
mod environment;
#[cfg(test)]
mod explained;
mod explore;
mod properties;
mod rules;
mod steps;
mod tests;
mod world;

use rules::{By, May, Model};
use world::{Body, Call, Effect, Fence, Message, Truth, World};

use super::body_state::{Commit, Withheld};

impl Model {
    const fn new(name: &'static str, witness: By, may: &'static [May]) -> Self {
        Self { name, calls: 1, messages: 1, witness, checkers: 2, relays: 1, may, bug: None }
    }

    fn start(&self) -> World {
        let mut messages = [None; 2];
        messages[..self.messages].fill(Some(Message::NEW));
        let call = Call {
            body: Body::Storing,
            begun: false,
            entered: false,
            withheld: Withheld::No,
            meant: Withheld::No,
            amended: false,
            commit: Commit::Not,
            effect: Effect::None,
            fence: Fence::None,
            pruned: false,
            truth: Truth::Nothing,
            messages,
        };
        let mut calls = [None; 2];
        calls[..self.calls].fill(Some(call));
        World { alive: true, calls, overdue: false }
    }
}
