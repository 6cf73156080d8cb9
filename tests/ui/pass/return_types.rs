//! The return type is taken as it is: an alias, an `impl Trait`, something that has to be coerced.

use std::fmt::{Debug, Display};

use transactional_message::{Error, transactional_message};
use ui::refused;

type Answer<T = ()> = Result<T, Error>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[transactional_message(routing_key = "paid", fence, message = 1)]
async fn alias() -> Answer {
    Ok(())
}

#[transactional_message(routing_key = "paid", fence, message = 1)]
async fn impl_trait(id: u64) -> Answer<impl Display + Debug + Send> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", fence, message = 1)]
async fn coerced(id: u64) -> Answer<Box<dyn Debug + Send>> {
    if id == 0 {
        return Ok(Box::new("nothing"));
    }
    Ok(Box::new(id))
}

#[transactional_message(routing_key = "paid", fence, message = text)]
async fn boxed_error(text: &str) -> Result<u64, BoxError> {
    let id: u64 = text.parse()?;
    if id == 0 {
        return Err("nothing".into());
    }
    Ok(id)
}

#[derive(Debug)]
enum PayError {
    Declined,
    Message(Error),
}

impl From<Error> for PayError {
    fn from(error: Error) -> Self {
        Self::Message(error)
    }
}

#[transactional_message(routing_key = "paid", fence, message = id)]
async fn own_error(id: u64) -> Result<std::convert::Infallible, PayError> {
    alias().await?;
    if id == 0 {
        return Err(PayError::Declined);
    }
    loop {
        alias().await?;
    }
}

#[transactional_message(routing_key = "paid", fence, message = 1)]
async fn one_expression(id: u64) -> Answer<u64> {
    Ok(id)
}

#[transactional_message(routing_key = "paid", fence, message = 1)]
async fn diverges() -> Answer {
    loop {
        tokio::task::yield_now().await;
    }
}

#[test]
fn runs() {
    refused(alias());
    refused(impl_trait(1));
    refused(coerced(1));
    refused(async { boxed_error("1").await.map_err(|error| *error.downcast().unwrap()) });
    refused(async {
        own_error(1).await.map_err(|error| match error {
            PayError::Message(error) => error,
            PayError::Declined => panic!("the body ran"),
        })
    });
    refused(one_expression(1));
    refused(diverges());
}
