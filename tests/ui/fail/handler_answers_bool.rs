//! A handler's answer is an `Outcome`.

use transactional_message::{Error, HalfMessage, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(half: HalfMessage<u64>) -> bool {
    half.payload > 0
}

fn main() {
    drop(pay(1));
}
