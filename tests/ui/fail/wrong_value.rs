//! A wrong value is an error on its own line.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    if id == 0 {
        return "nothing to pay";
    }
    "paid"
}

fn main() {
    drop(pay(1));
}
