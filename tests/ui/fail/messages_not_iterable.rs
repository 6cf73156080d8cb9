//! `messages` is for what can be iterated over.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", messages = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
