//! One message, or one for each item.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, messages = [id], fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
