//! After the half message, a handler is given `Data`.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = pay_outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[derive(Clone)]
struct Carrier;

async fn pay_outcome(_half: HalfMessage<u64>, _carrier: Carrier) -> Outcome {
    Outcome::Unknown
}

fn main() {
    drop(pay(1));
}
