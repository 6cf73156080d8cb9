//! What makes the error takes ours, and returns the function's.

use std::fmt;

use transactional_message::{Error, transactional_message};

fn text(error: Error) -> String {
    error.to_string()
}

fn status(text: String) -> fmt::Error {
    drop(text);
    fmt::Error
}

#[transactional_message(routing_key = "paid", message = id, fence, error = text)]
async fn another_result(id: u64) -> Result<u64, fmt::Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, fence, error = status)]
async fn another_argument(id: u64) -> Result<u64, fmt::Error> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", message = id, fence, error = fmt::Error)]
async fn no_function(id: u64) -> Result<u64, fmt::Error> {
    Ok(id)
}

fn main() {
    drop((another_result(1), another_argument(1), no_function(1)));
}
