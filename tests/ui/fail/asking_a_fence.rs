//! What is said about asking a handler has no meaning for a fence.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence, on_err = ask, check_after = std::time::Duration::from_secs(1))]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
