//! Every decision, as a pure function; and a model of the protocol that explores them all.

pub(crate) mod answer;
pub(crate) mod body_state;
pub(crate) mod ending;
#[cfg(test)]
mod model;
