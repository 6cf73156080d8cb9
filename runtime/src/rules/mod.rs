//! Every decision, as a pure function; and a model of the protocol that explores them all.

pub(crate) mod answer;
pub(crate) mod body_state;
pub(crate) mod by_hand;
pub(crate) mod ending;
pub(crate) mod explain;
#[cfg(test)]
mod model;
