//! So is an error that `?` can't convert.

use transactional_message::{Error, transactional_message};

struct PayError;

impl From<Error> for PayError {
    fn from(_: Error) -> Self {
        Self
    }
}

#[transactional_message(routing_key = "paid", message = text, fence)]
async fn pay(text: String) -> Result<u64, PayError> {
    let id = text.parse::<u64>()?;
    Ok(id)
}

fn main() {
    drop(pay(String::new()));
}
