//! A fence database is named by a literal.

use transactional_message::{Error, transactional_message};

const DATABASE: &str = "orders";

#[transactional_message(routing_key = "paid", message = id, fence = DATABASE)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
