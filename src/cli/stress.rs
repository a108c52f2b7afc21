//! `squall stress`.

use std::time::Duration;

use squall::scenario::units::{Ratio, Size, parse_duration};
use squall::stress;

use super::exit::Exit;

/// What to use up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It ends when its time is up, when its standard input is closed, and with --silence when nothing comes there for so long:
a stress whose starter is gone does not stay. Each line on standard input is answered with what was used so far.

Example: squall stress --cpu 2 --load 50% --memory 256MiB --for 30s")]
pub struct Args {
    /// Threads that use CPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu: u32,
    /// The share of a core that each of them uses.
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = share)]
    load: Ratio,
    /// Memory that is held, every page of it touched: 256MiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// For so long at the most: 30s, 5m.
    #[arg(long = "for", value_name = "DURATION", value_parser = some_time)]
    lasts: Duration,
    /// End after so long without anything on standard input.
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    silence: Option<Duration>,
}

fn share(text: &str) -> Result<Ratio, String> {
    let share: Ratio = text.parse().map_err(|e| format!("{e}"))?;
    match share.get() > 0.0 && share.get() <= 1.0 {
        true => Ok(share),
        false => Err("a share is above 0% and up to 100%".into()),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|e| e.to_string())?;
    match time > Duration::ZERO && time <= Duration::from_secs(24 * 3600) {
        true => Ok(time),
        false => Err("it must be above 0s and at most 24h".into()),
    }
}

/// Uses it up, and says so.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    if args.cpu == 0 && args.memory.is_none() {
        squall::say::err("error: nothing to use up: --cpu N, --memory SIZE or both");
        return Ok(Exit::BadInput);
    }
    if args.cpu > 1024 {
        squall::say::err(format_args!(
            "error: --cpu {}: at most 1024 threads",
            args.cpu
        ));
        return Ok(Exit::BadInput);
    }
    let options = stress::Options {
        cpu: args.cpu,
        load: args.load,
        memory: args.memory,
        lasts: args.lasts,
        silence: args.silence,
    };
    stress::run(&options, std::io::stdin(), &mut std::io::stdout())?;
    Ok(Exit::Pass)
}
