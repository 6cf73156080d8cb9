//! What makes the error is named, like a check-back handler.

use std::fmt;

use transactional_message::transactional_message;

#[transactional_message(routing_key = "paid", message = id, fence, error = |_| fmt::Error)]
async fn pay(id: u64) -> Result<u64, fmt::Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, fence, error = "not_stored")]
async fn refund(id: u64) -> Result<u64, fmt::Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, fence, error)]
async fn cancel(id: u64) -> Result<u64, fmt::Error> {
    Ok(id)
}

fn main() {
    drop((pay(1), refund(1), cancel(1)));
}
