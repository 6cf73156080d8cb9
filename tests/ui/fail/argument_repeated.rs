//! The second of two equal arguments is underlined.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence, routing_key = "payment.completed")]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
