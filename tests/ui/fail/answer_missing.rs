//! Somebody answers for a call that nobody reported.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
