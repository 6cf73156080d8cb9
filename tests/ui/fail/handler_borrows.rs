//! A handler is asked long after the call, so its payload owns what is in it.

use serde::{Deserialize, Serialize};
use transactional_message::{Error, HalfMessage, Outcome, transactional_message};

#[derive(Deserialize, Serialize)]
struct Paid<'a> {
    order: &'a str,
}

#[transactional_message(routing_key = "paid", message = Paid { order: &order }, name = "pay", check_back = pay_outcome)]
async fn pay(order: String) -> Result<String, Error> {
    Ok(order)
}

async fn pay_outcome(half: HalfMessage<Paid<'_>>) -> Outcome {
    if half.payload.order.is_empty() { Outcome::Cancel } else { Outcome::Confirm }
}

fn main() {
    drop(pay(String::new()));
}
