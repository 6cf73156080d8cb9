//! `Ok` and `Err` are what the message waits for.

use transactional_message::transactional_message;

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> u64 {
    id
}

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn refund(id: u64) -> Option<u64> {
    Some(id)
}

fn main() {}
