//! A `macro_rules!` macro may write the attribute, the function, and everything in them.

use transactional_message::{Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

macro_rules! annotated {
    ($name:ident($argument:ident: $ty:ty) -> $returned:ty $body:block, $key:expr, $message:expr, $fence:literal,
     $handled:literal, $handler:path) => {
        #[transactional_message(exchange = $fence, routing_key = $key, message = $message, fence = $fence)]
        async fn $name($argument: $ty) -> $returned $body

        mod handled {
            use super::*;

            #[transactional_message(routing_key = $key, message = $message, name = $handled, check_back = $handler)]
            pub(super) async fn $name($argument: $ty) -> $returned $body
        }
    };
}

annotated!(
    pay(id: u64) -> Result<u64, Error> {
        if id == 0 {
            return Ok(0);
        }
        Ok(id)
    },
    "paid".to_owned() + ".x",
    id + 1,
    "orders",
    "macro_rules.pay",
    outcome
);

async fn outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

#[test]
fn runs() {
    refused(pay(1));
    refused(handled::pay(1));
}
