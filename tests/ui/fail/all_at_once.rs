//! All mistakes of an attribute are reported at once, each in its place.

use transactional_message::{Error, transactional_message};

#[transactional_message(exchange = , rooting_key = "paid", name = 5, on_err = never, check_back = Self::outcome)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}
