//! `squall init`.

use std::time::Duration;

use squall::scenario::units::{Rate, parse_duration};
use squall::scenario::{InitLoad, InitOptions, InitTarget, init};

use super::exit::Exit;

/// The few things that differ from scenario to scenario.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall init > mine.yaml                                            the demo shop, one instance killed
  squall init --url http://127.0.0.1:8080 --path /search > mine.yaml
  squall init --command './server --port {port}' --users 50 > mine.yaml")]
pub struct Args {
    /// What the scenario is called.
    #[arg(long, default_value = "my service survives a kill")]
    name: String,
    /// A service that already runs; squall does not start, watch or break it.
    #[arg(long, conflicts_with = "command")]
    url: Option<String>,
    /// The command of one instance, of which three are started; `{port}` is replaced.
    #[arg(long, default_value = "squall demo --port {port}")]
    command: String,
    /// Arrival rate of an open load.
    #[arg(long, default_value = "100/s")]
    rate: Rate,
    /// Number of users of a closed load, instead.
    #[arg(long, conflicts_with = "rate")]
    users: Option<u32>,
    /// How long traffic runs, such as 1m.
    #[arg(long, default_value = "1m", value_parser = parse_duration)]
    duration: Duration,
    /// Path of the first request.
    #[arg(long, default_value = "/products")]
    path: String,
}

/// Prints the scenario.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let options = InitOptions {
        name: args.name,
        kill: args.url.is_none(),
        target: match args.url {
            Some(url) => InitTarget::Url(url),
            None => InitTarget::Command(args.command),
        },
        load: match args.users {
            Some(users) => InitLoad::Users(users),
            None => InitLoad::Rate(args.rate),
        },
        duration: args.duration,
        path: args.path,
    };
    squall::say::out(init(&options))?;
    Ok(Exit::Pass)
}
