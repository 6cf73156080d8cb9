//! `tm doctor`

use serde_json::Value;

use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain, say, write};

pub(super) async fn run(session: &Session, output: &Output) -> Result<Exit, Failure> {
    let findings = session.messenger.admin().examine().await?;
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
