//! A misspelt argument is one error, and is not said to be missing besides.

use transactional_message::{Error, transactional_message};

#[transactional_message(rooting_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
