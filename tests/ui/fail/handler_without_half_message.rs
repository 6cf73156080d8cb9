//! A handler is given the half message.

use transactional_message::{Error, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(id: u64) -> Outcome {
    if id == 0 { Outcome::Cancel } else { Outcome::Confirm }
}

fn main() {
    drop(pay(1));
}
