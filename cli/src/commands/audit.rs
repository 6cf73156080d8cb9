//! `tm audit`

use serde_json::Value;
use transactional_message::AuditFilter;

use crate::arguments::Audit;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

const COLUMNS: [&str; 8] = ["at", "action", "message_id", "subject", "user", "via", "reason", "evidence"];

pub(super) async fn run(session: &Session, output: &Output, audit: Audit) -> Result<Exit, Failure> {
    let mut filter = AuditFilter::default();
    filter.message_id = audit.message;
    filter.user = audit.user;
    filter.since = audit.since;
    let records = session.messenger.admin().audit(&filter, audit.limit).await?;
    output.list("records", &COLUMNS, &records, Value::Null)?;
    if records.is_empty() && output.is_for_people() {
        say("nobody has decided anything, or looked at a payload");
    }
    Ok(Exit::Done)
}
