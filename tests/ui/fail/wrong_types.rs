//! A messenger is a `Messenger`, a time is a `Duration`.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome,
                        messenger = id, check_after = 30)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn pay_outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {
    drop(pay(1));
}
