//! `tm doctor`

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use transactional_message::{Finding, RabbitMq};

use crate::arguments::Doctor;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, say, write};

pub(super) async fn run(session: &Session, output: &Output, doctor: &Doctor) -> Result<Exit, Failure> {
    let began = Instant::now();
    let of_stores = session.messenger.admin().examine().await?;
    let mut found: Vec<_> = of_stores.into_iter().map(Found::from).collect();
    let mut failed = None;
    if let Some(rabbitmq) = session.rabbitmq_if_named() {
        // Some is left to say what was found.
        let patience = session.patience().saturating_sub(began.elapsed()).mul_f64(0.8);
        match of_rabbitmq(session, rabbitmq, patience).await {
            Ok(of_rabbitmq) => found.extend(of_rabbitmq),
            Err(failure) => failed = Some(failure),
        }
    }
    found.retain(|one| !doctor.ignore.iter().any(|text| one.what.contains(text)));
    let told = tell(output, &found)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if told == Exit::Done {
        say("nothing is known to be wrong");
    }
    Ok(told)
}

/// What is wrong at RabbitMQ. That it does not answer in time is a finding, too.
async fn of_rabbitmq(
    session: &Session,
    rabbitmq: RabbitMq,
    patience: Duration,
) -> Result<Vec<Found>, Failure> {
    let examining = session.messenger.admin().examine_rabbitmq(rabbitmq);
    let Ok(found) = timeout(patience, examining).await else {
        return Ok(vec![Found {
            what: "RabbitMQ could not be looked at in time".into(),
            evidence: format!("no answer within {patience:.1?}"),
            remedy: "see the broker's log; --timeout allows for more".into(),
        }]);
    };
    Ok(found?.into_iter().map(Found::from).collect())
}

/// With these servers nothing can be examined, and no application could be started there either.
pub(super) fn unfit(output: &Output, failure: &Failure) -> Result<Exit, Failure> {
    let what = "a database can't be used: no process that is given it starts".into();
    let remedy = "correct what the evidence names".into();
    tell(output, &[Found { what, evidence: failure.text.clone(), remedy }])
}

#[derive(Serialize)]
struct Found {
    what: String,
    evidence: String,
    remedy: String,
}

impl From<Finding> for Found {
    fn from(Finding { what, evidence, remedy, .. }: Finding) -> Self {
        Self { what, evidence, remedy }
    }
}

fn tell(output: &Output, findings: &[Found]) -> Result<Exit, Failure> {
    const FIELDS: [&str; 3] = ["what", "evidence", "remedy"];
    if output.is_for_people() {
        for finding in findings {
            let [what, evidence, remedy] =
                [&finding.what, &finding.evidence, &finding.remedy].map(|text| plain(text));
            write(&format!("{what}\n  seen    {evidence}\n  remedy  {remedy}\n"))?;
        }
    } else {
        output.list("findings", &FIELDS, findings, Value::Null)?;
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Found })
}
