//! Every handler has a name of its own.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome)]
#[transactional_message(routing_key = "booked", message = id, name = "pay", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {}
