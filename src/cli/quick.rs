//! A scenario without a file: a URL stands in its place, and a few flags say the rest.

use std::path::Path;
use std::time::Duration;

use squall::scenario::units::{Rate, parse_duration};
use squall::scenario::{self, InitLoad, Scenario, is_url, quick};

/// What a file would say.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With a URL in place of the file")]
pub struct Quick {
    /// Requests a second, as an open load; 100/s when left out.
    #[arg(long)]
    rate: Option<Rate>,
    /// Users of a closed load, instead: each waits for its response, and goes on at once.
    #[arg(long, conflicts_with = "rate", value_name = "COUNT")]
    users: Option<u32>,
    /// How long traffic runs; 10s when left out.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// What must hold, such as 'p99 < 250ms' or 'errors < 1%'; may be given several times. Nothing when left out.
    #[arg(long, value_name = "BOUND")]
    expect: Vec<String>,
}

impl Quick {
    /// The scenario of a URL, or that in a file, which has no use for flags that say the same.
    pub fn scenario(
        &self,
        source: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Scenario> {
        if let Some(url) = source.to_str().filter(|text| is_url(text)) {
            let text = quick(url, self.load(), self.duration(), &self.expect);
            // What comes from a shell has had its variables put in there.
            return Ok(scenario::parse(url, &text, Path::new("."), &|_| None)?);
        }
        let given = self.rate.is_some() || self.users.is_some() || self.duration.is_some();
        anyhow::ensure!(
            !given && self.expect.is_empty(),
            "--rate, --users, --duration and --expect go with a URL (http://...); {} is taken for a file, which says all \
             that itself",
            source.display()
        );
        Ok(scenario::load(source, env)?)
    }

    fn load(&self) -> InitLoad {
        match (self.users, self.rate) {
            (Some(users), _) => InitLoad::Users(users),
            (None, rate) => InitLoad::Rate(rate.unwrap_or(Rate::per_second(100.0))),
        }
    }

    fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }
}

/// A flag's URL.
pub fn url(text: &str) -> Result<String, String> {
    match is_url(text) {
        true => Ok(text.to_string()),
        false => Err("a URL begins with http:// or https://".to_string()),
    }
}
