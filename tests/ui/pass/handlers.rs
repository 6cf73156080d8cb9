//! Handlers, wherever they are and whatever they take.

use serde::{Deserialize, Serialize};
use transactional_message::{Data, Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

#[derive(Clone, Serialize, Deserialize)]
struct Paid<T> {
    id: T,
}

mod answers {
    use transactional_message::{Data, HalfMessage, Outcome};

    use super::Paid;

    pub(super) async fn generic<T, const N: usize>(
        half: HalfMessage<Paid<T>>,
        _data: Data<[u8; N]>,
    ) -> Outcome {
        drop(half);
        Outcome::Unknown
    }
}

trait Answers {
    async fn outcome(half: HalfMessage<Paid<u64>>) -> Result<Outcome, String>;
}

struct Service;

impl Answers for Service {
    async fn outcome(half: HalfMessage<Paid<u64>>) -> Result<Outcome, String> {
        if half.payload.id == 0 { Err("no id".to_owned()) } else { Ok(Outcome::Confirm) }
    }
}

#[transactional_message(routing_key = "paid", name = "handlers.generic", check_back = answers::generic::<String, 3>,
                        message = Paid { id: "x".to_owned() })]
async fn generic() -> Result<(), Error> {
    Ok(())
}

#[transactional_message(routing_key = "paid", name = "handlers.trait", check_back = <Service as Answers>::outcome,
                        message = Paid { id })]
async fn of_a_trait(id: u64) -> Result<(), Error> {
    Ok(())
}

/// The message may be given by reference: it is encoded at once.
#[transactional_message(routing_key = "paid", name = "handlers.reference", check_back = many, message = paid)]
async fn by_reference(paid: &Paid<u64>) -> Result<Paid<u64>, Error> {
    Ok(paid.clone())
}

async fn many(
    half: HalfMessage<Paid<u64>>,
    _: Data<u8>,
    _: Data<u16>,
    _: Data<u32>,
) -> Result<Outcome, Error> {
    drop(half);
    Ok(Outcome::Cancel)
}

/// A handler can be written where it belongs.
#[transactional_message(routing_key = "paid", name = "handlers.fn", check_back = of_a_function::outcome, message = 1)]
async fn of_a_function() -> Result<(), Error> {
    Ok(())
}

mod of_a_function {
    use transactional_message::{HalfMessage, Outcome};

    pub(super) async fn outcome(_half: HalfMessage<i32>) -> Outcome {
        Outcome::Unknown
    }
}

#[test]
fn runs() {
    refused(generic());
    refused(of_a_trait(1));
    refused(async { by_reference(&Paid { id: 1 }).await.map(|paid| paid.id) });
    refused(of_a_function());
}
