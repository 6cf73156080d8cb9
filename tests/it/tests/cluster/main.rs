//! Clusters, of which nodes die, stand still, or are cut off.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

mod ailing;
mod mysql;
mod pair;
mod postgres;
mod rabbitmq;
mod shop;
