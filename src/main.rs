//! The squall program: reads the command line, hands over to the command, exits with its code.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::log::init(cli.verbose);
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => cli::exit::report(&error),
    }
}
