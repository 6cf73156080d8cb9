//! So is a wrong value where the future is boxed.

use transactional_message::{Error, transactional_message};

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[transactional_message(routing_key = "paid", message = id, fence)]
fn pay<'a>(id: u64) -> BoxFuture<'a, Result<u64, Error>> {
    async move { Ok(id) }
}

fn main() {
    drop(pay(1));
}
