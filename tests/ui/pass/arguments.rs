//! Functions' arguments in all forms, and the attribute's arguments in many.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use transactional_message::{Error, HalfMessage, Messenger, Outcome, transactional_message};
use ui::refused;

struct Pay {
    id: u8,
    prefix: String,
}

fn command() -> Pay {
    Pay { id: 1, prefix: "payment.".to_owned() }
}

#[transactional_message(routing_key = prefix + "completed", fence, message = id)]
async fn patterns(
    Pay { id, prefix }: Pay,
    (left, _): (u64, u64),
    [first, ..]: [u64; 2],
) -> Result<u64, Error> {
    Ok(u64::from(id) + left + first)
}

#[transactional_message(routing_key = "paid", fence, message = *count)]
async fn mutable(mut id: u64, count: &mut u64, _unused: u8) -> Result<u64, Error> {
    id += 1;
    *count += id;
    Ok(*count)
}

#[transactional_message(routing_key = key, fence, message = message)]
async fn impl_trait(key: impl Display + Send, message: &(impl Serialize + Sync)) -> Result<String, Error> {
    let _ = message;
    Ok(key.to_string())
}

#[transactional_message(routing_key = "paid", fence, message = items.len())]
async fn generic<'a, T, const N: usize>(items: &'a [T; N]) -> Result<&'a T, Error>
where
    T: Sync,
{
    Ok(&items[0])
}

#[transactional_message(
    exchange = if command.id > 0 { "payments" } else { "" },
    routing_key = command.prefix.clone() + "completed",
    message = command.id as usize,
    business_key = command.id,
    headers = [("tenant", "a"), ("prefix", &command.prefix)],
    type = concat!("payment", ".v1"),
    name = "arguments.everything",
    check_back = outcome,
    on_err = ask,
    check_after = Duration::from_secs(30) * 2,
    messenger = messenger.unwrap_or_else(|| panic!("given")),
)]
async fn everything(messenger: Option<&Messenger>, command: Pay) -> Result<Pay, Error> {
    let _ = messenger;
    Ok(command)
}

#[transactional_message(fence)]
async fn nothing() -> Result<(), Error> {
    Ok(())
}

#[transactional_message(routing_key = "paid", fence, messages = items.iter().map(|item| (item, 1)), business_key = 7)]
async fn each(items: Vec<String>) -> Result<Vec<String>, Error> {
    Ok(items)
}

#[transactional_message(routing_key = "paid", messages = &items, name = "arguments.each", check_back = outcome)]
async fn handled_each(items: [usize; 2]) -> Result<[usize; 2], Error> {
    Ok(items)
}

#[transactional_message(
    routing_key = "paid",
    fence,
    content_type = "text/plain",
    message = text.into_bytes(),
    delay = Duration::from_secs(1) + Duration::from_secs(2),
    expires_in = Duration::from_mins(5),
    priority = 1 + 2,
)]
async fn scheduled(text: String) -> Result<(), Error> {
    Ok(())
}

#[transactional_message(
    routing_key = "paid",
    content_type = format!("text/{}", "plain"),
    message = *b"bytes",
    deliver_at = time,
    name = "arguments.raw",
    check_back = raw_outcome
)]
async fn handled_bytes(time: SystemTime) -> Result<SystemTime, Error> {
    Ok(time)
}

async fn raw_outcome(_half: HalfMessage) -> Outcome {
    Outcome::Unknown
}

async fn outcome(_half: HalfMessage<usize>) -> Outcome {
    Outcome::Unknown
}

#[test]
fn runs() {
    refused(patterns(command(), (1, 2), [3, 4]));
    refused(mutable(1, &mut 2, 3));
    refused(impl_trait('x', &["y"]));
    refused(generic(&[1]));
    refused(nothing());
    refused(each(Vec::new()));
    refused(handled_each([1, 2]));
    refused(scheduled("text".to_owned()));
    refused(handled_bytes(SystemTime::now()));
    drop(everything(None, command()));
}
