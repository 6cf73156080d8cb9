//! Every message has a routing key.

use transactional_message::{Error, transactional_message};

#[transactional_message(exchange = "payments", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
