//! A handler is a function, and is named.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = "pay_outcome")]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, name = "refund", check_back = |half| async { half })]
async fn refund(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
