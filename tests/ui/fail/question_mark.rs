//! So is an error that `?` can't convert.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = text, fence)]
async fn pay(text: String) -> Result<u64, Error> {
    let id = text.parse()?;
    Ok(id)
}

fn main() {
    drop(pay(String::new()));
}
