//! So is a value that was thrown away.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id);
}

fn main() {
    drop(pay(1));
}
