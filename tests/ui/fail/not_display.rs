//! A routing key, a key and a type are text.

use transactional_message::{Error, transactional_message};

struct Order;

#[transactional_message(routing_key = Order, business_key = Order, type = Order, message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {
    drop(pay(1));
}
