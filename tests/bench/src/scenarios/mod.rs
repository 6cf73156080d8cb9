//! What is measured: a file each.

pub(crate) mod latency;
pub(crate) mod pipeline;
pub(crate) mod send;
