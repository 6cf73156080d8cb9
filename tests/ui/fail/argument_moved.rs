//! A message that takes an argument away leaves nothing for the body.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = std::convert::identity(order), fence)]
async fn pay(order: String) -> Result<String, Error> {
    Ok(order)
}

fn main() {
    drop(pay(String::new()));
}
