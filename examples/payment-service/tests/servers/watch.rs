//! Prometheus, as it watches the service by the rules of `monitoring/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

use crate::service::wait_until;

/// How many times faster everything is in [`Watch`] than in the rules.
const FASTER: u64 = 60;

/// A file of `monitoring/`.
pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../monitoring").join(file)
}

pub(crate) fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The same rules in less time, so that a test sees in a minute what they would see in an hour: windows, `for`, and the
/// thresholds of the lag are shorter. That of the store's silence stays, since the library looks every 15 s.
fn hastened(rules: &str) -> String {
    let mut hastened = rules.to_owned();
    for (unit, seconds) in [("m", 60), ("h", 3600)] {
        for number in (1..60).rev() {
            let shorter = (number * seconds / FASTER).max(1);
            hastened = hastened
                .replace(&format!("for: {number}{unit}\n"), &format!("for: {shorter}s\n"))
                // A rate needs two samples, which are a second apart.
                .replace(&format!("[{number}{unit}]"), &format!("[{}s]", shorter.max(5)));
        }
    }
    for lag in [120, 300] {
        hastened = hastened.replace(&format!("> {lag}\n"), &format!("> {}\n", lag / FASTER));
    }
    assert!(!hastened.contains("m]") && hastened.contains("> 2\n") && hastened.contains("for: 10s\n"));
    hastened
}

/// A Prometheus that watches.
pub(crate) struct Watch {
    server: services::Server,
    began: std::time::Instant,
}

impl Watch {
    pub(crate) async fn start(service: &str) -> Self {
        let target = service.strip_prefix("http://").expect("a URL").to_owned();
        let rules = hastened(&read("rules.yml"));
        let server = services::prometheus::start("shop", &[target], &rules).await.expect("Prometheus");
        Self { server, began: std::time::Instant::now() }
    }

    /// What an expression says now.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/query", self.server.url());
        let url = Url::parse_with_params(&url, [("query", expression)]).expect("a URL");
        let answer: Value = reqwest::get(url).await.expect("answers").json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("a list").clone()
    }

    async fn alerts(&self, expression: &str) -> BTreeSet<String> {
        let found = self.query(expression).await;
        found.iter().map(|one| one["metric"]["alertname"].as_str().expect("a name").to_owned()).collect()
    }

    pub(crate) async fn holds(&self, condition: &str) {
        wait_until(condition, async || !self.query(condition).await.is_empty()).await;
    }

    pub(crate) async fn fires(&self, alert: &str) {
        let firing = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
        wait_until(&firing, async || !self.query(&firing).await.is_empty()).await;
    }

    /// Waits until none fires.
    pub(crate) async fn is_quiet(&self) {
        let firing = "ALERTS{alertstate=\"firing\"}";
        wait_until("no alert to fire", async || self.query(firing).await.is_empty()).await;
    }

    /// Which alerts have fired since this was asked the last time.
    pub(crate) async fn fired(&mut self) -> BTreeSet<String> {
        let seconds = self.began.elapsed().as_secs().max(1);
        self.began = std::time::Instant::now();
        self.alerts(&format!(
            "count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{seconds}s]))"
        ))
        .await
    }
}
