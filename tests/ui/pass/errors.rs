//! An error type that can't carry ours, because it is somebody else's: a function makes one of it.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use transactional_message::{Error, ErrorKind, transactional_message};
use ui::{outcome_of, refused};

/// As web frameworks have them.
type Response = (u16, String);

#[expect(clippy::needless_pass_by_value, reason = "what the attribute calls")]
fn unavailable(error: Error) -> Response {
    (503, error.to_string())
}

fn unknown(_: Error) -> fmt::Error {
    fmt::Error
}

#[transactional_message(routing_key = "paid", fence, message = id, error = unavailable)]
async fn tuple(id: u64) -> Result<u64, Response> {
    if id == 0 {
        return Err((404, "no such payment".to_owned()));
    }
    nothing().await.map_err(unavailable)?;
    Ok(id)
}

#[transactional_message(routing_key = "paid", fence, message = text, error = unknown)]
async fn of_std(text: &str) -> Result<usize, fmt::Error> {
    let mut all = String::new();
    fmt::Write::write_str(&mut all, text)?;
    Ok(all.len())
}

async fn nothing() -> Result<(), Error> {
    Ok(())
}

#[derive(Debug)]
enum PayError<T> {
    NotStored(T),
}

/// A variant is a function, too, and the type may have no other way to it.
#[transactional_message(routing_key = "paid", fence, message = 1, error = PayError::<Error>::NotStored)]
#[transactional_message(routing_key = "booked", fence, message = 2)]
async fn variant() -> Result<(), PayError<Error>> {
    Ok(())
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[transactional_message(routing_key = "paid", fence, message = cents, error = unavailable)]
fn boxed<'a>(cents: u64) -> BoxFuture<'a, Result<u64, Response>> {
    Box::pin(async move { if cents == 0 { Err((402, String::new())) } else { Ok(cents) } })
}

struct Service;

impl Service {
    fn status(error: Error) -> fmt::Error {
        unknown(error)
    }

    #[transactional_message(routing_key = "paid", fence, message = 1, error = Self::status)]
    async fn pay(&self) -> Result<(), fmt::Error> {
        Ok(())
    }
}

#[async_trait]
trait Payments {
    async fn settle(&self, pair: (u64, u64)) -> Result<u64, fmt::Error>;
    async fn close(&self, id: u64) -> Result<u64, Response>;
}

#[async_trait]
impl Payments for Service {
    #[transactional_message(routing_key = "paid", fence, message = left, error = Self::status)]
    async fn settle(&self, (left, right): (u64, u64)) -> Result<u64, fmt::Error> {
        Ok(left + right)
    }

    #[transactional_message(routing_key = "closed", fence, message = id, error = unavailable)]
    async fn close(&self, id: u64) -> Result<u64, Response> {
        self.pay().await.map_err(|error| (500, error.to_string()))?;
        Ok(id)
    }
}

#[test]
fn runs() {
    let refused_as = |answer: Result<u64, Response>| {
        assert!(matches!(&answer, Err((503, why)) if why.contains("messenger")), "{answer:?}");
    };
    refused_as(outcome_of(tuple(1)));
    refused_as(outcome_of(boxed(1)));
    refused_as(outcome_of(Service.close(1)));
    assert_eq!(outcome_of(of_std("x")), Err(fmt::Error));
    assert_eq!(outcome_of(Service.pay()), Err(fmt::Error));
    assert_eq!(outcome_of(Service.settle((1, 2))), Err(fmt::Error));
    let Err(PayError::NotStored(error)) = outcome_of(variant()) else { panic!("stored") };
    assert_eq!((error.kind(), error.body_ran()), (ErrorKind::NoMessenger, false));
    refused(async { variant().await.map_err(|PayError::NotStored(error)| error) });
}
