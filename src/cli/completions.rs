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
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "squall", &mut text);
    squall::say::out(String::from_utf8_lossy(&text))?;
    Ok(Exit::Pass)
}
