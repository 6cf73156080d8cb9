//! Arguments are separated, and reading goes on where a comma is missing.

use transactional_message::{Error, transactional_message};

#[transactional_message(exchange = "payments" routing_key = "paid", message = id fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
