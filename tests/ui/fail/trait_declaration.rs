//! A method without a body is annotated where it has one.

use transactional_message::{Error, transactional_message};

trait Payments {
    #[transactional_message(routing_key = "paid", message = id, fence)]
    async fn pay(&self, id: u64) -> Result<u64, Error>;
}

fn main() {}
