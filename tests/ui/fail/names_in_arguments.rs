//! Arguments see the function's arguments, and the body sees nothing of ours.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = order, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    let order = id;
    Ok(order)
}

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn refund(id: u64) -> Result<u64, Error> {
    drop(call);
    Ok(id)
}

fn main() {
    drop((pay(1), refund(1)));
}
