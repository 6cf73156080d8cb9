//! What every database must pass that is a server: sessions end, the server dies, the network is slow
//! or silent, and transactions run side by side.

mod concurrency;
pub(crate) mod counts;
mod cut;
mod isolation;
mod killed;
mod network;
mod prefix;
mod rights;
mod rotated;
mod side_by_side;
mod slow_store;
mod store_gone;
mod stuck;
