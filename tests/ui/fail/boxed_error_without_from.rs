//! So does the error of a boxed future.

use transactional_message::transactional_message;

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[derive(Debug)]
enum PayError {
    Declined,
}

#[transactional_message(routing_key = "paid", message = id, fence)]
fn pay<'a>(id: u64) -> BoxFuture<'a, Result<u64, PayError>> {
    Box::pin(async move { if id == 0 { Err(PayError::Declined) } else { Ok(id) } })
}

fn main() {
    drop(pay(1));
}
