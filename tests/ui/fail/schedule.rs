//! When a message is delivered is said once; what is said has a type; and a message in a format of its own is bytes.

use std::time::{Duration, SystemTime};

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, delay = Duration::ZERO, deliver_at = SystemTime::now(), fence)]
async fn twice(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", messages = [id], content_type = "text/plain", fence)]
async fn each(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[transactional_message(expires_in = Duration::ZERO, fence)]
async fn nothing(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
