//! Clients that pay, and remember what they were told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Clients at work until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    url: Mutex<String>,
    /// Payments to be made; counted down.
    left: AtomicUsize,
    told: Mutex<HashSet<Uuid>>,
}

impl Load {
    /// `clients` make `payments`, each repeated, as a client does, until it is answered.
    pub(crate) fn start(url: &str, clients: usize, payments: usize) -> Self {
        let shared = Arc::new(Shared {
            url: Mutex::new(url.to_owned()),
            left: AtomicUsize::new(payments),
            told: Mutex::default(),
        });
        let mut at_work = JoinSet::new();
        for client in 0..clients {
            at_work.spawn(pay(client, Arc::clone(&shared)));
        }
        Self { shared, clients: at_work }
    }

    /// The service is somewhere else now.
    pub(crate) fn goes_to(&self, url: &str) {
        url.clone_into(&mut self.shared.url.lock().expect("unpoisoned"));
    }

    /// How many payments clients know to be made.
    pub(crate) fn made(&self) -> usize {
        self.shared.told.lock().expect("unpoisoned").len()
    }

    /// Waits until all payments are made. The ids of those.
    pub(crate) async fn done(self) -> HashSet<Uuid> {
        self.clients.join_all().await;
        self.shared.told.lock().expect("unpoisoned").clone()
    }
}

async fn pay(client: usize, shared: Arc<Shared>) {
    let http = reqwest::Client::new();
    while shared.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        let id = Uuid::new_v4();
        let body = json!({
            "payment_id": id,
            "order_id": format!("order-{id}"),
            "account": format!("client-{client}"),
            "amount_cents": 1,
        });
        loop {
            let url = format!("{}/payments", shared.url.lock().expect("unpoisoned"));
            match http.post(url).json(&body).send().await.map(|answer| answer.status().as_u16()) {
                Ok(200 | 201) => break,
                // Not available now, or nobody there: the same payment again, after a moment.
                Ok(503) | Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                Ok(other) => panic!("a payment was answered with {other}"),
            }
        }
        shared.told.lock().expect("unpoisoned").insert(id);
    }
}
