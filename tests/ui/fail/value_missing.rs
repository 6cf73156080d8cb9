//! An argument without its value is underlined itself, and not what comes after it.

use transactional_message::{Error, transactional_message};

#[transactional_message(exchange, routing_key = , message = id, fence = )]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
