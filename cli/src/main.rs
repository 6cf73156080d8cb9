//! `tm`: the command line for operators of transactional-message.

mod arguments;
mod commands;
mod connect;
mod consent;
mod context;
mod exit;
mod output;

use std::process::ExitCode;

use clap::Parser;

use arguments::Cli;
use exit::Failure;
use output::say;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match commands::run(cli).await {
        Ok(exit) => exit,
        Err(Failure { exit, text }) => {
            say(&text);
            exit
        }
    };
    ExitCode::from(exit)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
