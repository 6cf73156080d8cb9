//! `tm doctor`

use serde::Serialize;
use serde_json::Value;

use crate::arguments::Doctor;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, say, write};

pub(super) async fn run(session: &Session, output: &Output, doctor: &Doctor) -> Result<Exit, Failure> {
    let admin = session.messenger.admin();
    let mut findings = admin.examine().await?;
    if let Some(rabbitmq) = session.rabbitmq_if_named() {
        findings.extend(admin.examine_rabbitmq(rabbitmq).await?);
    }
    findings.retain(|finding| !doctor.ignore.iter().any(|text| finding.what.contains(text)));
    let told = tell(output, &findings)?;
    if told == Exit::Done {
        say("nothing is known to be wrong");
    }
    Ok(told)
}

/// With these servers nothing can be examined, and no application could be started there either.
pub(super) fn unfit(output: &Output, failure: &Failure) -> Result<Exit, Failure> {
    let what = "a database can't be used: no process that is given it starts";
    let remedy = "correct what the evidence names";
    tell(output, &[Unfit { what, evidence: &failure.text, remedy }])
}

#[derive(Serialize)]
struct Unfit<'a> {
    what: &'a str,
    evidence: &'a str,
    remedy: &'a str,
}

fn tell<T: Serialize>(output: &Output, findings: &[T]) -> Result<Exit, Failure> {
    const FIELDS: [&str; 3] = ["what", "evidence", "remedy"];
    if output.is_for_people() {
        for finding in findings {
            let finding = serde_json::to_value(finding).unwrap_or_default();
            let [what, evidence, remedy] =
                FIELDS.map(|field| plain(finding[field].as_str().unwrap_or_default()));
            write(&format!("{what}\n  seen    {evidence}\n  remedy  {remedy}\n"))?;
        }
    } else {
        output.list("findings", &FIELDS, findings, Value::Null)?;
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Found })
}
