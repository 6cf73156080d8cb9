//! A name is stored with every message, so it is spelt out.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

const NAME: &str = "pay";

#[transactional_message(routing_key = "paid", message = id, name = NAME, check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {}
