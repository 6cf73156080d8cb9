//! Each item is a payload.

use transactional_message::{Error, transactional_message};

struct Item;

#[transactional_message(routing_key = "sold", messages = &items, fence)]
async fn sell(items: Vec<Item>) -> Result<usize, Error> {
    Ok(items.len())
}

fn main() {}
