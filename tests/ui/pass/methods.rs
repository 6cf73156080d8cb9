//! Methods in an `impl`, generic or not.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};
use transactional_message::{Data, Error, HalfMessage, Outcome, transactional_message};
use ui::refused;

#[derive(Serialize, Deserialize)]
struct Paid {
    tenant: String,
    cents: u64,
}

#[derive(Clone, Default)]
struct Service {
    tenant: String,
    paid: u64,
}

impl Service {
    const QUEUE: &'static str = "paid";

    #[transactional_message(exchange = self.tenant, routing_key = Self::QUEUE, name = "methods.pay",
                            check_back = Service::outcome, message = Paid { tenant: self.tenant.clone(), cents })]
    async fn pay(&self, cents: u64) -> Result<u64, Error> {
        Ok(self.paid + cents)
    }

    #[transactional_message(routing_key = &self.tenant, fence, message = self.paid)]
    async fn count(&mut self) -> Result<&mut u64, Error> {
        self.paid += 1;
        Ok(&mut self.paid)
    }

    #[transactional_message(routing_key = self.tenant.as_str(), fence, message = self.paid)]
    async fn into_tenant(self) -> Result<String, Error> {
        Ok(self.tenant)
    }

    #[transactional_message(routing_key = "opened", fence, message = tenant)]
    async fn open(tenant: &str) -> Result<Self, Error> {
        Ok(Self { tenant: tenant.to_owned(), paid: 0 })
    }

    async fn outcome(half: HalfMessage<Paid>, service: Data<Self>) -> Result<Outcome, Error> {
        Ok(if service.paid < half.payload.cents { Outcome::Cancel } else { Outcome::Unknown })
    }
}

#[derive(Default)]
struct Store<K, const N: usize>(PhantomData<K>);

impl<K: Send + Sync, const N: usize> Store<K, N> {
    #[transactional_message(routing_key = "stored", name = "methods.store", check_back = outcome, message = N)]
    async fn store<V: Send>(&self, key: K, value: V) -> Result<(K, V), Error> {
        Ok((key, value))
    }
}

async fn outcome(_half: HalfMessage<usize>) -> Outcome {
    Outcome::Unknown
}

#[test]
fn runs() {
    let mut service = Service::default();
    refused(service.pay(1));
    refused(service.count());
    refused(async { Service::open("a").await.map(|service| service.tenant) });
    refused(service.into_tenant());
    refused(Store::<u8, 3>::default().store(1, "x"));
}
