//! Functions: their bodies do what bodies do, and own their arguments although the message borrowed them.

use serde::Serialize;
use transactional_message::{Error, call_id, transactional_message, withhold};
use ui::refused;

pub(super) struct Pay {
    order: String,
    cents: u32,
}

#[derive(Serialize)]
struct Paid<'a> {
    order: &'a str,
    cents: u32,
}

fn command() -> Pay {
    Pay { order: "o-1".to_owned(), cents: 5 }
}

#[transactional_message(exchange = "payments", routing_key = "payment.completed", fence,
                        message = Paid { order: &command.order, cents: command.cents })]
async fn pay(command: Pay) -> Result<String, Error> {
    if command.cents == 0 {
        withhold()?;
        return Ok(String::new());
    }
    let order = lookup(command).await?;
    Ok(format!("{order} {}", call_id()))
}

async fn lookup(command: Pay) -> Result<String, Error> {
    tokio::task::yield_now().await;
    Ok(command.order)
}

#[transactional_message(routing_key = "payment.completed", fence = "orders", message = "paid")]
async fn without_arguments() -> Result<(), Error> {
    Ok(())
}

#[transactional_message(routing_key = format!("payment.{}", command.cents), fence, message = &command.order)]
pub(super) async fn by_reference(command: &mut Pay) -> Result<&str, Error> {
    command.cents += 1;
    lookup(Pay { order: String::new(), cents: command.cents }).await?;
    Ok(&command.order)
}

#[test]
fn runs() {
    refused(pay(command()));
    refused(without_arguments());
    refused(by_reference(&mut command()));
}
