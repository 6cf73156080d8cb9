//! Only functions have a body to run.

use transactional_message::transactional_message;

#[transactional_message(routing_key = "paid", message = 1, fence)]
struct Payment;

fn main() {
    let _ = Payment;
}
