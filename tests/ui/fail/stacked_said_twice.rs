//! What holds for the call is said once.

use transactional_message::{Error, HalfMessage, Messenger, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome,
                        on_err = ask, check_after = std::time::Duration::from_secs(1), messenger = messenger)]
#[transactional_message(routing_key = "booked", message = id, name = "book", check_back = pay_outcome,
                        on_err = ask, check_after = std::time::Duration::from_secs(2), messenger = messenger)]
async fn pay(messenger: &Messenger, id: u64) -> Result<u64, Error> {
    drop(messenger.clone());
    Ok(id)
}

async fn pay_outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {}
