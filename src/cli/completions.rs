//! `squall completions`.

use clap::CommandFactory;

use super::exit::Exit;

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to print completions for.
    shell: clap_complete::Shell,
}

/// Prints the completions.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "squall", &mut std::io::stdout());
    Ok(Exit::Pass)
}
