//! One mistake is one error: the function is still there for its callers, also in an `impl`.

use transactional_message::{Error, transactional_message};

#[transactional_message(rooting_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

trait Payments {
    async fn refund(&self, id: u64) -> Result<u64, Error>;
}

struct Service;

impl Service {
    #[transactional_message(routing_key = "paid", message = id fence)]
    async fn pay(&self, id: u64) -> Result<u64, Error> {
        self.refund(pay(id).await?).await
    }
}

impl Payments for Service {
    #[transactional_message(routing_key = "refunded", message = id)]
    async fn refund(&self, id: u64) -> Result<u64, Error> {
        pay(id).await
    }
}

fn main() {
    drop(Service.pay(1));
    drop(Service.refund(1));
}
