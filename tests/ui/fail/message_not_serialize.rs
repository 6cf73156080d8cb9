//! Messages are encoded.

use transactional_message::{Error, transactional_message};

struct Paid {
    id: u64,
}

#[transactional_message(routing_key = "paid", message = Paid { id }, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {
    drop(pay(1));
    let _ = Paid { id: 1 }.id;
}
