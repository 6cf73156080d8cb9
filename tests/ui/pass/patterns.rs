//! Patterns in the arguments of a method, which `#[async_trait]` moves into the body: the message sees the names
//! as it does in any other function. Each evaluates the message before the body, and the body owns everything.

use std::fmt::Display;

use async_trait::async_trait;
use serde::Serialize;
use transactional_message::{Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

/// Not `Copy`, so that a pattern moves out of it.
pub(super) struct Pay {
    id: u64,
    order: String,
    account: Account,
}

pub(super) struct Account(String, u64);

/// An extractor, as web frameworks have them.
pub(super) struct Json<T>(T);

#[derive(Serialize)]
struct Paid<'a> {
    id: u64,
    order: &'a str,
}

fn command() -> Pay {
    Pay { id: 1, order: "o-1".to_owned(), account: Account("a".to_owned(), 5) }
}

#[async_trait]
pub(super) trait Payments: Send + Sync {
    async fn of_struct(&self, command: Pay) -> Result<String, Error>;
    async fn of_tuple(&mut self, pair: (u64, String)) -> Result<String, Error>;
    async fn of_extractor(&self, command: Json<Pay>, note: String, _: u8) -> Result<String, Error>;
    async fn nested(self: Box<Self>, commands: (Pay, [u64; 3], Option<u8>)) -> Result<String, Error>;
    async fn by_reference(&self, command: Pay) -> Result<usize, Error>;
    async fn without_self((left, right): (u64, u64)) -> Result<u64, Error>
    where
        Self: Sized;

    /// A default body can be annotated as well.
    #[transactional_message(routing_key = "paid", fence, message = id)]
    async fn by_default(&self, Json(Pay { id, mut order, .. }): Json<Pay>) -> Result<String, Error> {
        order.push('!');
        Ok(format!("{order} {id}"))
    }
}

#[derive(Clone, Default)]
struct Service {
    queue: String,
    paid: u64,
}

#[async_trait]
impl Payments for Service {
    #[transactional_message(routing_key = self.queue, fence, message = Paid { id, order: &order }, business_key = order)]
    async fn of_struct(&self, Pay { id, order, .. }: Pay) -> Result<String, Error> {
        if id == 0 {
            return Ok(order);
        }
        Ok(order + &self.queue)
    }

    #[transactional_message(routing_key = self.queue, fence, message = (&cents, &order))]
    async fn of_tuple(&mut self, (mut cents, order): (u64, String)) -> Result<String, Error> {
        cents += 1;
        self.paid += cents;
        Ok(order)
    }

    #[transactional_message(routing_key = "a", name = "patterns.a", check_back = outcome, message = id)]
    #[transactional_message(routing_key = "b", name = "patterns.b", check_back = outcome, message = id, business_key = note)]
    async fn of_extractor(
        &self,
        Json(Pay { id, order, .. }): Json<Pay>,
        mut note: String,
        _: u8,
    ) -> Result<String, Error> {
        note.push_str(&order);
        tokio::task::yield_now().await;
        Ok(note + &id.to_string())
    }

    #[transactional_message(routing_key = name, fence, message = first + last + cents + self.paid)]
    async fn nested(
        self: Box<Self>,
        (Pay { account: Account(name, cents), .. }, [first, .., last], _): (Pay, [u64; 3], Option<u8>),
    ) -> Result<String, Error> {
        Ok(name + &self.queue + &(first + last + cents).to_string())
    }

    #[transactional_message(routing_key = order, fence, message = order.len())]
    async fn by_reference(&self, Pay { ref order, ref mut account, .. }: Pay) -> Result<usize, Error> {
        account.1 += 1;
        tokio::task::yield_now().await;
        Ok(order.len())
    }

    #[transactional_message(routing_key = "paid", fence, message = left * right)]
    async fn without_self((left, right): (u64, u64)) -> Result<u64, Error> {
        Ok(left + right)
    }
}

struct Generic<T>(T);

#[async_trait]
trait Refunds<T> {
    async fn refund(&self, both: (T, &str)) -> Result<T, Error>;
}

#[async_trait]
impl<T: Display + Send + Sync + Clone + 'static> Refunds<T> for Generic<T> {
    #[transactional_message(routing_key = value, fence, message = order)]
    async fn refund(&self, (value, order): (T, &str)) -> Result<T, Error> {
        let _ = order;
        Ok(if order.is_empty() { self.0.clone() } else { value })
    }
}

async fn outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

#[test]
fn runs() {
    let mut service = Service::default();
    refused(service.of_struct(command()));
    refused(service.of_tuple((1, "o".to_owned())));
    refused(service.of_extractor(Json(command()), "n".to_owned(), 1));
    refused(Box::new(service.clone()).nested((command(), [1, 2, 3], None)));
    refused(service.by_reference(command()));
    refused(Service::without_self((1, 2)));
    refused(service.by_default(Json(command())));
    refused(Generic(1).refund((2, "o")));
}
