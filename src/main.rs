//! The program `squall`.

use std::ffi::OsString;

use clap::Parser;

#[derive(Debug, Parser)]
enum Command {
    /// Run the demo service
    Demo(Box<squall::demo::Options>),
    #[command(name = "__exec", hide = true)]
    Exec {
        parent: u32,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    #[command(name = "__reaper", hide = true)]
    Reaper,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Demo(options) => squall::demo::main(*options),
        Command::Exec { parent, command } => {
            Err(squall::platform::local::shim::exec(parent, command))
        }
        Command::Reaper => squall::platform::local::reaper::main(std::io::stdin().lock()),
    }
}
