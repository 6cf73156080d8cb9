//! `tm`: the command line for operators of transactional-message.

mod arguments;
mod commands;
mod connect;
mod consent;
mod context;
mod exit;
mod output;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

use arguments::Cli;
use exit::Failure;
use output::say;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = parsed();
    let exit = match commands::run(cli).await {
        Ok(exit) => exit,
        Err(Failure { exit, text }) => {
            say(&text);
            exit
        }
    };
    ExitCode::from(exit)
}

/// The command line, and whether it names the context itself.
fn parsed() -> Cli {
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.globals.context_is_given = matches.value_source("context") == Some(ValueSource::CommandLine);
    cli
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
