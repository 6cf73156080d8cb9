//! Foreign code can't wait.

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = 1, fence)]
extern "C" fn pay() -> Box<Result<u64, Error>> {
    Box::new(Ok(1))
}

fn main() {}
