//! `squall compare`.

use std::path::PathBuf;
use std::time::Duration;

use squall::judge::compare::{CompareExpectation, Wanted};
use squall::report::Sheet;
use squall::run::compare_folders;
use squall::say;
use squall::scenario::units::{Ratio, parse_duration};

use super::exit::Exit;
use super::run::style;

/// Which runs, and how much slower is too slow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The unit is the run: five or more a side, in turn, of the same plan (traffic, faults, warm-up). A folder may hold one
run or several. Runs that did not end as planned, or whose generator was saturated, are left out by name.

Example:
  squall run candidate.yaml --repeat 5 --against baseline.yaml --out ab
  squall compare ab/baseline -- ab/candidate")]
pub struct Args {
    /// Folders of the baseline's runs.
    #[arg(required = true, value_name = "BASELINE")]
    baseline: Vec<PathBuf>,
    /// Folders of the candidate's runs.
    #[arg(last = true, required = true, value_name = "CANDIDATE")]
    candidate: Vec<PathBuf>,
    #[command(flatten)]
    margins: Margins,
    /// Only this flow.
    #[arg(long)]
    flow: Option<String>,
    /// Only this step.
    #[arg(long)]
    step: Option<String>,
    /// Print result.json instead of the summary.
    #[arg(long)]
    json: bool,
    /// Write result.json, junit.xml, summary.md and report.html into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What is fine.
#[derive(Debug, Clone, clap::Args)]
pub struct Margins {
    /// The percentile compared, such as p99 or p99.9.
    #[arg(long, default_value = "p99", value_parser = percentile, value_name = "PERCENTILE")]
    percentile: Percentile,
    /// The candidate may be slower by this share.
    #[arg(long, default_value = "10%", value_name = "SHARE")]
    margin: Ratio,
    /// Slower by no more than this is never a FAIL.
    #[arg(long, default_value = "5ms", value_parser = parse_duration, value_name = "DURATION")]
    floor: Duration,
    /// So many more of the requests may fail.
    #[arg(long, default_value = "0.1%", value_name = "SHARE")]
    error_margin: Ratio,
    /// Judge although the sides did not run in turn on one machine.
    #[arg(long)]
    not_interleaved: bool,
}

impl Margins {
    /// As the comparison takes them.
    pub fn expectation(&self) -> CompareExpectation {
        CompareExpectation {
            quantile: self.percentile.0,
            margin: self.margin,
            floor: self.floor,
            error_margin: self.error_margin,
            interleaved: !self.not_interleaved,
            ..CompareExpectation::default()
        }
    }

    /// The flags that differ from the usual ones, for the command that judges again.
    fn flags(&self) -> Vec<String> {
        let usual = CompareExpectation::default();
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: String| flags.extend([flag.to_string(), value]);
        let quantile = self.percentile.0;
        if quantile != usual.quantile {
            add(
                "--percentile",
                squall::judge::compare::quantile_name(quantile),
            );
        }
        if self.margin != usual.margin {
            add("--margin", self.margin.to_string());
        }
        if self.floor != usual.floor {
            add(
                "--floor",
                squall::scenario::units::format_duration(self.floor),
            );
        }
        if self.error_margin != usual.error_margin {
            add("--error-margin", self.error_margin.to_string());
        }
        if self.not_interleaved {
            flags.push("--not-interleaved".into());
        }
        flags
    }
}

/// A quantile, 0.99 for p99.
#[derive(Debug, Clone, Copy)]
struct Percentile(f64);

fn percentile(text: &str) -> Result<Percentile, String> {
    let number = text.strip_prefix('p').and_then(|n| n.parse::<f64>().ok());
    match number {
        Some(p) if p > 0.0 && p < 100.0 => Ok(Percentile(p / 100.0)),
        _ => Err("expected a percentile between p0 and p100, such as p50, p99 or p99.9".into()),
    }
}

/// Compares, prints, exits as the comparison says.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let wanted = Wanted {
        flow: args.flow.clone(),
        step: args.step.clone(),
    };
    let expect = args.margins.expectation();
    let compared = compare_folders(&args.baseline, &args.candidate, &wanted, &expect)?;
    let sheet = Sheet::comparison(&compared, again(&args));
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out)?;
        sheet.write(out)?;
    }
    if args.json {
        say::out(String::from_utf8_lossy(&sheet.json()?))?;
    } else {
        let style = style(&std::io::stdout());
        say::out(sheet.terminal(style, args.out.as_deref()))?;
    }
    Ok(Exit::of(sheet.overall()))
}

fn again(args: &Args) -> Vec<String> {
    let paths = |of: &[PathBuf]| {
        of.iter()
            .map(|p| p.display().to_string())
            .collect::<Vec<_>>()
    };
    let mut again = vec!["squall".to_string(), "compare".into()];
    again.extend(args.margins.flags());
    for (flag, value) in [("--flow", &args.flow), ("--step", &args.step)] {
        again.extend(value.iter().flat_map(|v| [flag.to_string(), v.clone()]));
    }
    again.extend(paths(&args.baseline));
    again.push("--".into());
    again.extend(paths(&args.candidate));
    again
}
