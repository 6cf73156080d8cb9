//! Whether a message is sent depends on what the function returns.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) {
    drop::<Result<u64, Error>>(Ok(id));
}

fn main() {}
