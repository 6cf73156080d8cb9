//! A constant can't store a message.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
const fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
