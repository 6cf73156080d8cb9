//! A handler is asked about payloads of its own type.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

async fn sold(_: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

#[transactional_message(name = "sell", routing_key = "sold", messages = &items, check_back = sold)]
async fn sell(items: Vec<String>) -> Result<usize, Error> {
    Ok(items.len())
}

fn main() {}
