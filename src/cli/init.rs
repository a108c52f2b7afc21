//! `squall init`.

use std::time::Duration;

use squall::scenario::units::{Rate, parse_duration};
use squall::scenario::{InitOptions, init};

use super::exit::Exit;

/// The few things that differ from scenario to scenario.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall init > mine.yaml                                            the demo shop, one instance killed
  squall init --url http://127.0.0.1:8080 --path /search > mine.yaml
  squall init --command './server --port {port}' --instances 4 --users 50 > mine.yaml")]
pub struct Args {
    /// What the scenario is called.
    #[arg(long, default_value = "my service survives a kill")]
    name: String,
    /// A service that already runs; squall does not start, watch or break it.
    #[arg(long, conflicts_with_all = ["command", "instances"])]
    url: Option<String>,
    /// The command of one instance; `{port}` is replaced.
    #[arg(long)]
    command: Option<String>,
    /// How many instances of the command.
    #[arg(long, default_value_t = 3)]
    instances: u32,
    /// Arrival rate of an open load, such as 200/s.
    #[arg(long, conflicts_with = "users")]
    rate: Option<Rate>,
    /// Number of users of a closed load.
    #[arg(long)]
    users: Option<u32>,
    /// How long traffic runs, such as 1m.
    #[arg(long, default_value = "1m", value_parser = parse_duration)]
    duration: Duration,
    /// Path of the first request.
    #[arg(long, default_value = "/")]
    path: String,
}

/// Prints the scenario.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let options = InitOptions {
        name: args.name,
        kill: args.url.is_none() && args.instances > 1,
        url: args.url,
        command: args.command,
        instances: args.instances,
        rate: args.rate,
        users: args.users,
        duration: args.duration,
        path: args.path,
    };
    print!("{}", init(&options));
    Ok(Exit::Pass)
}
