//! Annotated functions call each other, by whatever path. One that calls itself returns a boxed future: of an
//! `async fn`, the compiler can't tell that it is `Send` while it is still at its body.

use std::pin::Pin;

use transactional_message::{Error, transactional_message};
use ui::refused;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

mod orders {
    use transactional_message::Error;
    use transactional_message::transactional_message as message;

    use super as payments;

    /// The attribute may have another name, as long as it isn't stacked.
    #[message(routing_key = "ordered", fence, message = id)]
    pub(super) async fn order(id: u64) -> Result<u64, Error> {
        payments::pay(id).await
    }
}

#[transactional_message(routing_key = "paid", fence, message = id)]
async fn pay(id: u64) -> Result<u64, Error> {
    if id == 0 { Ok(0) } else { refund(id - 1).await }
}

#[transactional_message(routing_key = "refunded", fence, message = id)]
fn refund<'a>(id: u64) -> BoxFuture<'a, Result<u64, Error>> {
    Box::pin(async move { orders::order(id).await })
}

#[test]
fn runs() {
    refused(orders::order(1));
    refused(pay(1));
    refused(refund(1));
}
