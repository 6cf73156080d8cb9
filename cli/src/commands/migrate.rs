//! `tm migrate`

use transactional_message::{ErrorKind, Script, TablePart};

use crate::arguments::{Globals, Migrate, Part};
use crate::connect::{Session, source, within};
use crate::context::Target;
use crate::exit::{Exit, Failure};
use crate::output::{say, write};

pub(super) async fn run(globals: &Globals, migrate: &Migrate) -> Result<Exit, Failure> {
    let target = Target::of(globals)?;
    if migrate.sql {
        return sql(&target, migrate.part).await;
    }
    if migrate.check || globals.dry_run {
        target.is_there().map_err(|failure| Failure { exit: Exit::Found, ..failure })?;
        let session = within(globals.timeout, Session::open_unchecked(globals)).await?;
        return within(globals.timeout, check(&session)).await;
    }
    // Before anything is opened: SQLite's files are made thereby.
    let session = Session::consent(globals, &target);
    session.agree(&format!("Tables will be created or updated: {}", target.shown())).await?;
    let session = within(globals.timeout, Session::open_unchecked(globals)).await?;
    // As long as it takes: a migration that is cut off is half done on MySQL.
    session.messenger.migrate().await?;
    say(&format!("the tables are up to date: {}", session.target));
    if target.fences.is_empty() {
        say(
            "no fence was named: `--fence NAME=URL` for each business database, should its tables be kept up to date from here",
        );
    }
    Ok(Exit::Done)
}

/// The statements of all versions: each file notes its own in `tm_schema`, and says in its first lines what it is for.
async fn sql(target: &Target, part: Part) -> Result<Exit, Failure> {
    let part = match part {
        Part::Message => TablePart::Message,
        Part::Fence => TablePart::Fence,
        Part::Inbox => TablePart::Inbox,
    };
    for Script { name, sql, .. } in source(target, &target.database_url).scripts(part).await? {
        write(&format!("-- {name}\n{sql}\n"))?;
    }
    Ok(Exit::Done)
}

async fn check(session: &Session) -> Result<Exit, Failure> {
    match session.messenger.check_tables().await {
        Ok(()) => {
            say(&format!("the tables are up to date: {}", session.target));
            Ok(Exit::Done)
        }
        Err(error) if error.kind() == ErrorKind::Schema => {
            Err(Failure { exit: Exit::Found, text: Failure::from(error).text })
        }
        Err(error) => Err(error.into()),
    }
}
