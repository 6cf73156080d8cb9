//! Functions that return a boxed future, however that is written.

use std::pin::Pin;

use transactional_message::{Error, transactional_message};
use ui::refused;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

struct Service {
    tenant: String,
}

impl Service {
    #[transactional_message(routing_key = self.tenant, fence, message = cents)]
    fn pay(&self, cents: u64) -> BoxFuture<'_, Result<String, Error>> {
        if cents == 0 {
            return Box::pin(std::future::ready(Ok(String::new())));
        }
        let tenant = self.tenant.to_uppercase();
        Box::pin(async move { Ok(tenant + &self.tenant) })
    }
}

#[transactional_message(routing_key = order, fence, message = &order)]
fn book<'a>(
    order: String,
    copies: &'a u64,
) -> Pin<Box<dyn Future<Output = Result<String, Error>> + Send + 'a>> {
    Box::pin(async move { Ok(order.repeat(usize::try_from(*copies).unwrap_or(0))) })
}

/// What such a function does before it returns its future is part of its body: it waits for the half message,
/// too, and here it doesn't happen.
#[transactional_message(routing_key = "counted", fence, message = 1)]
fn count(count: &mut u32) -> BoxFuture<'_, Result<(), Error>> {
    *count += 1;
    Box::pin(async { Ok(()) })
}

#[test]
fn runs() {
    refused(Service { tenant: "a".to_owned() }.pay(1));
    refused(book("o-1".to_owned(), &2));
    let mut counted = 0;
    refused(count(&mut counted));
    assert_eq!(counted, 0);
}
