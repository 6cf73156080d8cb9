//! A conditional attribute would be a call of its own.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
#[cfg_attr(all(), transactional_message(routing_key = "booked", message = id, fence))]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
