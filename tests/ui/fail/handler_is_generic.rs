//! Handlers are registered where the function's generic parameters are unknown.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = outcome::<T>)]
async fn pay<T: Send + 'static>(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn outcome<T>(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {}
