//! `squall init`.

use std::time::Duration;

use squall::scenario::units::{Rate, parse_duration};
use squall::scenario::{InitLoad, InitOptions, InitTarget, init, split_url};

use super::exit::Exit;

/// The few things that differ from scenario to scenario.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall init > mine.yaml                                   the demo shop, one instance killed
  squall init --url http://127.0.0.1:8080/search > mine.yaml
  squall init --command './server --port {port}' --users 50 > mine.yaml")]
pub struct Args {
    /// What the scenario is called.
    #[arg(long)]
    name: Option<String>,
    /// A service that already runs; squall does not start, watch or break it. Its path is what is requested.
    #[arg(long, conflicts_with = "command", value_parser = super::quick::url)]
    url: Option<String>,
    /// The command of one instance, of which three are started; `{port}` is replaced. The demo shop when left out.
    #[arg(long)]
    command: Option<String>,
    /// Arrival rate of an open load.
    #[arg(long, default_value = "100/s")]
    rate: Rate,
    /// Number of users of a closed load, instead.
    #[arg(long, conflicts_with = "rate")]
    users: Option<u32>,
    /// How long traffic runs, such as 1m.
    #[arg(long, default_value = "1m", value_parser = parse_duration)]
    duration: Duration,
    /// Path of the request, behind the URL's if there is one; `/` when left out.
    #[arg(long)]
    path: Option<String>,
}

/// Prints the scenario.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let kill = args.url.is_none();
    let name = match kill {
        true => "my service survives a kill",
        false => "my service under load",
    };
    let (target, path) = target(args.url, args.command, args.path);
    let options = InitOptions {
        name: args.name.unwrap_or_else(|| name.into()),
        kill,
        target,
        load: match args.users {
            Some(users) => InitLoad::Users(users),
            None => InitLoad::Rate(args.rate),
        },
        duration: args.duration,
        path,
    };
    squall::say::out(init(&options))?;
    Ok(Exit::Pass)
}

/// What is tested, and what it is asked for.
fn target(
    url: Option<String>,
    command: Option<String>,
    path: Option<String>,
) -> (InitTarget, String) {
    match (url, command, path) {
        (Some(url), _, Some(path)) => (InitTarget::Url(url), path),
        (Some(url), _, None) => {
            let (base, path) = split_url(&url);
            (InitTarget::Url(base.into()), path.into())
        }
        (None, Some(command), path) => {
            let path = path.unwrap_or_else(|| "/".into());
            (InitTarget::Command(command), path)
        }
        (None, None, path) => {
            let path = path.unwrap_or_else(|| "/products".into());
            (
                InitTarget::Command("squall demo --port {port}".into()),
                path,
            )
        }
    }
}
