//! A fence is found without a name.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
