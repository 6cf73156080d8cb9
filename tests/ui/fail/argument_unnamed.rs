//! Arguments have names.

use transactional_message::{Error, transactional_message};

#[transactional_message("paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
