//! Messages are encoded, also those that a handler decodes.

use serde::Deserialize;
use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[derive(Deserialize)]
struct Paid {
    id: u64,
}

#[transactional_message(routing_key = "paid", message = Paid { id }, name = "pay", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(half: HalfMessage<Paid>) -> Outcome {
    if half.payload.id == 0 { Outcome::Cancel } else { Outcome::Confirm }
}

fn main() {
    drop(pay(1));
}
