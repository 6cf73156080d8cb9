//! Methods of traits: `async fn` in a trait, its default body, and `#[async_trait]`.

use async_trait::async_trait;
use transactional_message::{Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

trait Payments {
    async fn pay(&self, cents: u64) -> Result<u64, Error>;
}

trait Refunds: Sync {
    fn tenant(&self) -> String;

    /// A default body can be annotated as well.
    #[transactional_message(routing_key = self.tenant(), fence, message = cents)]
    async fn refund(&self, cents: u64) -> Result<u64, Error> {
        Ok(cents)
    }
}

#[async_trait]
trait Ledger: Send {
    async fn book(&mut self, voucher: String) -> Result<usize, Error>;
    async fn close(&self) -> Result<(), Error>;

    async fn total<'a>(&'a self, _of: &'a str) -> Result<&'a str, Error>
    where
        Self: Sync,
    {
        Ok("0")
    }
}

#[derive(Default)]
struct Service {
    vouchers: Vec<String>,
}

impl Payments for Service {
    #[transactional_message(routing_key = "paid", fence, message = cents)]
    async fn pay(&self, cents: u64) -> Result<u64, Error> {
        Ok(cents)
    }
}

impl Refunds for Service {
    fn tenant(&self) -> String {
        format!("tenant-{}", self.vouchers.len())
    }
}

#[async_trait]
impl Ledger for Service {
    #[transactional_message(routing_key = "booked", message = voucher, fence)]
    async fn book(&mut self, voucher: String) -> Result<usize, Error> {
        if voucher.is_empty() {
            return Ok(0);
        }
        self.vouchers.push(voucher);
        Ok(self.vouchers.len())
    }

    #[transactional_message(routing_key = "closed", name = "traits.close", check_back = closed,
                            message = self.vouchers.len())]
    async fn close(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        Ok(())
    }

    #[transactional_message(routing_key = of, message = of, fence)]
    async fn total<'a>(&'a self, of: &'a str) -> Result<&'a str, Error> {
        Ok(of)
    }
}

async fn closed(_half: HalfMessage<usize>) -> Outcome {
    Outcome::Confirm
}

#[test]
fn runs() {
    let mut service = Service::default();
    refused(service.pay(1));
    refused(service.refund(1));
    refused(service.book("v-1".to_owned()));
    let ledger: Box<dyn Ledger + Sync> = Box::new(service);
    refused(ledger.close());
    refused(ledger.total("a"));
}
