//! `tm doctor`

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
    if output.is_for_people() {
        for finding in &findings {
            let (what, evidence, remedy) =
                (plain(&finding.what), plain(&finding.evidence), plain(&finding.remedy));
            write(&format!("{what}\n  seen    {evidence}\n  remedy  {remedy}\n"))?;
        }
    } else {
        output.list("findings", &["what", "evidence", "remedy"], &findings, Value::Null)?;
    }
    if findings.is_empty() {
        say("nothing is known to be wrong");
        return Ok(Exit::Done);
    }
    Ok(Exit::Found)
}
