//! What is measured: a file each.

pub(crate) mod backlog;
pub(crate) mod compile;
pub(crate) mod consume;
pub(crate) mod delayed;
pub(crate) mod import;
pub(crate) mod instances;
pub(crate) mod kept;
pub(crate) mod latency;
pub(crate) mod many;
pub(crate) mod orphans;
pub(crate) mod pipeline;
pub(crate) mod recovery;
mod seed;
pub(crate) mod send;
pub(crate) mod sqlite;
mod steady;
