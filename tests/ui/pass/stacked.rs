//! Several messages of one call, with other attributes between them.

use serde::{Deserialize, Serialize};
use transactional_message::{Data, Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

#[derive(Serialize, Deserialize)]
struct ParcelSent {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct InvoiceDue {
    cents: u64,
}

#[transactional_message(name = "stacked.parcel", routing_key = "parcel.sent", check_back = parcel_outcome,
                        message = ParcelSent { id })]
#[doc = "Ships."]
#[ui::messages::transactional_message(name = "stacked.invoice", routing_key = "invoice.due", on_err = ask,
                                  check_back = invoice_outcome, message = InvoiceDue { cents })]
async fn ship(id: u64, cents: u64) -> Result<u64, Error> {
    Ok(id + cents)
}

async fn parcel_outcome(half: HalfMessage<ParcelSent>) -> Outcome {
    if half.payload.id == 0 { Outcome::Cancel } else { Outcome::Unknown }
}

async fn invoice_outcome(half: HalfMessage<InvoiceDue>, limit: Data<u64>, _: Data<String>) -> Outcome {
    if half.payload.cents > *limit { Outcome::Cancel } else { Outcome::Unknown }
}

#[transactional_message(routing_key = "a", fence = "orders", message = &order, business_key = order)]
#[transactional_message(routing_key = "b", fence = "orders", message = &order, headers = [("n", 2)])]
#[cfg_attr(all(), transactional_message(routing_key = "c", fence = "orders", message = &order, type = "c.v1"))]
#[cfg_attr(any(), transactional_message(unknown))]
async fn three(order: String) -> Result<String, Error> {
    Ok(order)
}

#[test]
fn runs() {
    refused(ship(1, 2));
    refused(three("o-1".to_owned()));
}
