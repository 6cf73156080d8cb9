//! A handler is given what was sent.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(half: HalfMessage<String>) -> Outcome {
    if half.payload.is_empty() { Outcome::Cancel } else { Outcome::Confirm }
}

fn main() {
    drop(pay(1));
}
