//! What the attribute generates, in a crate that forbids nearly everything.

#![forbid(unsafe_code)]
#![deny(
    clippy::pedantic,
    clippy::nursery,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::absolute_paths,
    clippy::shadow_reuse,
    clippy::shadow_unrelated,
    clippy::default_numeric_fallback,
    clippy::large_futures,
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    unreachable_pub,
    unused,
    unused_qualifications,
    unused_lifetimes,
    let_underscore_drop,
    single_use_lifetimes,
    rust_2018_idioms
)]

use std::fmt::Error as FmtError;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;
use transactional_message::{Data, Error, HalfMessage, Messenger, Outcome, transactional_message};
use ui::{outcome_of, refused};

#[derive(Debug, Serialize, Deserialize)]
struct Paid {
    order: String,
}

#[derive(Debug, Serialize)]
struct Booked<'a> {
    order: &'a str,
}

#[derive(Debug)]
struct Pay {
    order: String,
    cents: u64,
}

fn command() -> Pay {
    Pay { order: "o-1".to_owned(), cents: 5 }
}

#[transactional_message(exchange = "payments", routing_key = format!("paid.{}", command.cents), fence,
                        message = Booked { order: &command.order }, business_key = command.order,
                        headers = [("cents", command.cents)], type = "booked.v1")]
async fn book(mut count: u64, command: Pay) -> Result<String, Error> {
    if command.cents == 0 {
        return Ok(String::new());
    }
    count += command.cents;
    let order = command.order;
    Ok(format!("{order} {count}"))
}

#[transactional_message(routing_key = &command.order, name = "lints.pay", check_back = outcome, on_err = ask,
                        check_after = Duration::from_secs(3), message = Paid { order: command.order.clone() })]
#[transactional_message(routing_key = command.order.clone() + ".x", name = "lints.pay.x", check_back = outcome,
                        messenger = messenger, message = &Paid { order: command.order.clone() })]
async fn pay(messenger: &Messenger, command: &Pay) -> Result<u64, Error> {
    yield_now().await;
    Ok(command.cents)
}

async fn outcome(half: HalfMessage<Paid>, limit: Data<u64>) -> Result<Outcome, Error> {
    yield_now().await;
    Ok(if half.payload.order.len() as u64 > *limit { Outcome::Cancel } else { Outcome::Unknown })
}

#[transactional_message(routing_key = "ping", fence, message = "ping")]
async fn ping() -> Result<(), Error> {
    Ok(())
}

#[derive(Debug, Default)]
struct Service {
    tenant: String,
}

impl Service {
    #[transactional_message(routing_key = self.tenant, name = "lints.service", check_back = outcome,
                            message = Paid { order: order.to_owned() })]
    async fn pay<'a>(&'a mut self, order: &'a str) -> Result<&'a str, Error> {
        self.tenant.push('x');
        Ok(order)
    }
}

#[async_trait]
trait Payments {
    async fn settle(&mut self, command: Pay) -> Result<String, Error>;
    async fn refund(&self, count: u64, command: Pay, pair: (u64, u64)) -> Result<String, FmtError>;
}

#[async_trait]
impl Payments for Service {
    #[transactional_message(routing_key = &self.tenant, fence, message = Booked { order: &command.order })]
    async fn settle(&mut self, command: Pay) -> Result<String, Error> {
        self.tenant.push('x');
        Ok(command.order)
    }

    #[transactional_message(routing_key = &self.tenant, fence, message = Booked { order: &order }, error = unknown)]
    async fn refund(
        &self,
        mut count: u64,
        Pay { order, mut cents }: Pay,
        (left, _): (u64, u64),
    ) -> Result<String, FmtError> {
        count += left;
        cents += count;
        yield_now().await;
        Ok(format!("{order} {cents}"))
    }
}

fn unknown(_: Error) -> FmtError {
    FmtError
}

#[test]
fn runs() {
    refused(book(1, command()));
    refused(ping());
    refused(Service::default().pay("o-1"));
    refused(Service::default().settle(command()));
    assert_eq!(outcome_of(Service::default().refund(1, command(), (2, 3))), Err(FmtError));
    let _ = async |messenger: &Messenger| pay(messenger, &command()).await;
}
