//! Generated code finds the runtime where the attribute says that it is.

use ui::messages::{Error, HalfMessage, Outcome};
use ui::refused;

/// What a framework may re-export, and how a macro of its own would use it.
mod framework {
    pub(super) use ui::messages;
}

#[ui::messages::transactional_message(crate = ::ui::messages, routing_key = "paid", message = id, fence)]
async fn pay(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[framework::messages::transactional_message(crate = crate::crate_path::framework::messages, routing_key = "paid",
                                             message = id, name = "crate_path", check_back = outcome)]
async fn refund(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn outcome(_half: HalfMessage<u64>) -> Outcome {
    Outcome::Unknown
}

macro_rules! annotated {
    ($name:ident, $id:expr) => {
        #[ui::messages::transactional_message(crate = $crate::crate_path::framework::messages, routing_key = "paid",
                                              message = $id, fence)]
        async fn $name() -> Result<u64, Error> {
            Ok($id)
        }
    };
}

annotated!(by_macro, 1 + 2);

#[test]
fn runs() {
    refused(pay(1));
    refused(refund(1));
    refused(by_macro());
}
