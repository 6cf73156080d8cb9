//! Without a message there is nothing that a key could be of.

use transactional_message::{Error, transactional_message};

#[transactional_message(fence, business_key = id)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
