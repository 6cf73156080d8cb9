//! The commands.

mod audit;
mod bulk;
mod dead;
mod decide;
mod doctor;
mod export;
mod find;
mod list;
mod migrate;
mod operations;
mod pause;
mod processes;
mod prune;
mod show;
mod simulate;
mod status;
mod tail;
mod why;

use clap::CommandFactory;

use decide::Verb;

use crate::arguments::{Cli, Command, Globals};
use crate::connect::{Session, within};
use crate::context::Target;
use crate::exit::{Exit, Failure};
use crate::output::{Output, write};

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { globals, command } = cli;
    match command {
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tm", &mut text);
            write(&String::from_utf8_lossy(&text)).map(|()| Exit::Done)
        }
        Command::Man => man().map(|()| Exit::Done),
        // As long as somebody watches.
        Command::Status(status) if status.watch.is_some() => status::watch(&globals, &status).await,
        command => in_session(&globals, command).await,
    }
}

async fn in_session(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    let output = Output::new(globals);
    let patience = globals.timeout;
    if let Command::Migrate(migrate) = command {
        return migrate::run(globals, &migrate).await;
    }
    if matches!(command, Command::Doctor(_)) {
        // What is given is right, or there is nothing to examine.
        Target::of(globals)?;
    }
    let session = match within(patience, Session::open(globals)).await {
        Err(failure) if failure.exit == Exit::Usage && matches!(command, Command::Doctor(_)) => {
            return doctor::unfit(&output, &failure);
        }
        session => session?,
    };
    match command {
        // About as many messages as are wanted: each has its own time.
        Command::Confirm(decide) => decide::run(&session, &output, Verb::Confirm, &decide).await,
        Command::Cancel(decide) => decide::run(&session, &output, Verb::Cancel, &decide).await,
        Command::Retry(decide) => decide::run(&session, &output, Verb::Retry, &decide).await,
        Command::Operations(operations) => operations::run(&session, &output, operations).await,
        Command::Pause(pause) => pause::pause(&session, &output, pause).await,
        Command::Resume(resume) => pause::resume(&session, &output, resume).await,
        // People may think as long as they like.
        Command::Ask(ask) => simulate::run(&session, &output, &ask).await,
        Command::Tail(tail) => tail::run(&session, &output, tail).await,
        Command::Prune(prune) => prune::run(&session, &output, &prune).await,
        Command::Export(export) => export::run(&session, &output, export).await,
        Command::Dead(dead) => dead::run(&session, &output, dead).await,
        command => within(patience, look(&session, &output, command)).await,
    }
}

async fn look(session: &Session, output: &Output, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Status(status) => status::run(session, output, &status).await,
        Command::List(list) => list::run(session, output, list).await,
        Command::Show(show) => show::run(session, output, &show).await,
        Command::Why(why) => why::run(session, output, &why).await,
        Command::Audit(audit) => audit::run(session, output, audit).await,
        Command::Processes => processes::run(session, output).await,
        Command::Doctor(doctor) => doctor::run(session, output, &doctor).await,
        _ => Ok(Exit::Done),
    }
}

/// One page, with a section for each command.
fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    sections(&command, "tm", &mut page)?;
    write(&String::from_utf8_lossy(&page))
}

fn sections(command: &clap::Command, name: &str, page: &mut Vec<u8>) -> Result<(), Failure> {
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        let name = format!("{name} {}", one.get_name());
        let section = clap_mangen::Man::new(one.clone().display_name(name.clone()));
        section.render_name_section(page)?;
        section.render_description_section(page)?;
        section.render_options_section(page)?;
        sections(one, &name, page)?;
    }
    Ok(())
}
