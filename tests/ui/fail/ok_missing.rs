//! So is a value without its `Ok`.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    id
}

fn main() {
    drop(pay(1));
}
