//! The body runs when the half message is stored, and that takes time.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
