//! `tm prune`

use std::fmt::Write;

use crate::arguments::Prune;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::{Output, say};

pub(super) async fn run(session: &Session, output: &Output, prune: &Prune) -> Result<Exit, Failure> {
    let Prune { older_than, audit } = *prune;
    let age = humantime::format_duration(older_than);
    let admin = session.messenger.admin();
    if session.dry_run {
        let count = session.within(async { Ok(admin.prunable(older_than).await?) }).await?;
        say(&format!(
            "{count} message(s) that have been finished for {age} would be deleted, with their fence rows"
        ));
        return Ok(Exit::Done);
    }
    session.consent.agree(&format!("This would delete what has been finished for {age}")).await?;
    let pruned = admin.prune(older_than).await?;
    let records = if audit { admin.prune_audit(older_than).await? } else { 0 };
    let all = serde_json::json!({ "pruned": pruned, "audit": records });
    output.one(&all, || {
        let mut text =
            format!("deleted {} message(s) and {} operation(s)\n", pruned.messages, pruned.operations);
        if audit {
            let _ = writeln!(text, "deleted {records} record(s) of the audit");
        }
        text
    })?;
    Ok(Exit::Done)
}
