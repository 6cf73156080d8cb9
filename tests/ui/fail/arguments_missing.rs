//! All that is missing is reported at once.

use transactional_message::{Error, transactional_message};

#[transactional_message]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
