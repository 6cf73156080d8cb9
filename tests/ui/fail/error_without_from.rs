//! The function's error carries ours, which says that the message could not be stored.

use transactional_message::transactional_message;

#[derive(Debug)]
enum PayError {
    Declined,
}

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, PayError> {
    if id == 0 { Err(PayError::Declined) } else { Ok(id) }
}

fn main() {
    drop(pay(1));
}
