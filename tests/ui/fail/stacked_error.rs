//! An error in a stacked attribute is reported once, in its place.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
#[must_use]
#[transactional_message(routing_key = "booked", fence)]
#[transactional_message::transactional_message]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
