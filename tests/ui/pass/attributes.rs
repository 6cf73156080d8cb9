//! Other attributes and documentation stay, wherever they are.

use transactional_message::{Error, transactional_message};
use ui::refused;

/// Pays a payment.
#[transactional_message(routing_key = "paid", fence, message = id)]
/// Really.
#[inline]
#[expect(unused_variables, reason = "shows that the attribute is still there")]
async fn pay(id: u64, #[cfg(test)] twice: bool, #[cfg(not(test))] twice: String) -> Result<u64, Error> {
    Ok(1)
}

#[transactional_message(routing_key = "paid", fence, message = 1)]
async fn inner() -> Result<u64, Error> {
    #![expect(clippy::unreadable_literal, reason = "shows that the attribute is still there")]
    Ok(1234567)
}

#[cfg(test)]
#[transactional_message(routing_key = "paid", fence, message = 1)]
#[cfg_attr(all(), must_use = "shows that the attribute is still there")]
async fn conditional() -> Result<(), Error> {
    Ok(())
}

#[transactional_message(routing_key = "paid", fence, message = 1)]
#[cfg(any())]
async fn left_out() -> Missing {}

#[test]
fn runs() {
    refused(pay(1, true));
    refused(inner());
    refused(conditional());
}
