//! Handlers are registered where `Self` is unknown.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

struct Payments;

impl Payments {
    #[transactional_message(routing_key = "paid", message = id, name = "pay", check_back = Self::outcome)]
    async fn pay(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    async fn outcome(_half: HalfMessage<u64>) -> Outcome {
        Outcome::Unknown
    }
}

fn main() {}
