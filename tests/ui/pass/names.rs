//! Users name things as generated code does, or as the language's own prelude: nobody notices.

#![allow(non_camel_case_types, dead_code, reason = "the names are the point")]

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

struct Some;
struct None;
struct Option;
struct Send;
struct Future;
mod core {}
mod std {}
mod inventory {}
mod __private {}
struct Call;
struct HandlerRegistration;
const PRODUCER: u64 = 5;

fn handler() -> u64 {
    PRODUCER
}

fn run() -> u64 {
    handler()
}

#[transactional_message(routing_key = PRODUCER, message = call + run(), name = "names.fence", check_back = fence)]
async fn send(call: u64, ret: u64) -> Result<u64, Error> {
    let body = PRODUCER + run();
    Ok(call + ret + body)
}

async fn fence(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

#[transactional_message(routing_key = message, fence, message = exchange)]
async fn messages(message: u64, exchange: u64, r#type: u64) -> Result<u64, Error> {
    Ok(message + exchange + r#type)
}

#[transactional_message(routing_key = r#type, fence, message = 1)]
async fn r#move(r#type: &str) -> Result<&str, Error> {
    Ok(r#type)
}

#[test]
fn runs() {
    refused(send(1, 2));
    refused(messages(1, 2, 3));
    refused(r#move("x"));
}
