//! A delay is a `Duration`, a time a `SystemTime`, a priority a `u8`; a message with a `content_type` is bytes, also for its
//! check-back handler.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[transactional_message(routing_key = "paid", message = id, delay = 30, expires_in = "soon", priority = 1000, fence)]
async fn delayed(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, deliver_at = 1_700_000_000, fence)]
async fn at(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = [1, 2], content_type = "text/plain", name = "pay", check_back = outcome)]
async fn handled(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

fn main() {
    drop(delayed(1));
    drop(at(1));
    drop(handled(1));
}
