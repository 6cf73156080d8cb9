//! The path to the runtime means the same everywhere.

use transactional_message::{Error, transactional_message};

#[transactional_message(crate = transactional_message, routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(crate = self::transactional_message, routing_key = "paid", message = id, fence)]
async fn refund(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
