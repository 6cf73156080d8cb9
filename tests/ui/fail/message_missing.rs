//! Every message has a payload.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
