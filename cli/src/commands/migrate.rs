//! `tm migrate`

use transactional_message::ErrorKind;

use crate::arguments::Migrate;
use crate::connect::Session;
use crate::exit::{Exit, Failure};
use crate::output::say;

pub(super) async fn run(session: &Session, migrate: &Migrate) -> Result<Exit, Failure> {
    if migrate.check || session.dry_run {
        return match session.messenger.check_tables().await {
            Ok(()) => {
                say("the tables are up to date");
                Ok(Exit::Done)
            }
            Err(error) if error.kind() == ErrorKind::Schema => {
                Err(Failure { exit: Exit::Found, text: Failure::from(error).text })
            }
            Err(error) => Err(error.into()),
        };
    }
    session.consent.make_sure("This changes tables")?;
    session.messenger.migrate().await?;
    say("the tables are up to date");
    Ok(Exit::Done)
}
