//! The messages of one call are decided by one answer.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
#[transactional_message(routing_key = "booked", message = id, name = "book", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, name = "refund", check_back = pay_outcome)]
#[transactional_message(routing_key = "booked", message = id, fence)]
async fn refund(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, fence)]
#[transactional_message(routing_key = "booked", message = id, fence = "orders")]
async fn split(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {}
