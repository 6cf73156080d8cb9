//! One question has one answer.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", fence, check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {}
