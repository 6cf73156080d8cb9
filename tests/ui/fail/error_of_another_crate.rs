//! An error type of another crate can't carry ours: the attribute names a function that makes one.

use std::fmt;

use transactional_message::transactional_message;

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, fmt::Error> {
    if id == 0 { Err(fmt::Error) } else { Ok(id) }
}

fn main() {
    drop(pay(1));
}
