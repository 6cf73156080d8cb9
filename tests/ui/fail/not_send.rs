//! What is not `Send` is reported at the function, and not where the function is spawned.

use std::rc::Rc;

use transactional_message::{Error, transactional_message};

#[transactional_message(routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    let shared = Rc::new(id);
    std::future::ready(()).await;
    Ok(*shared)
}

fn main() {
    drop(pay(1));
}
