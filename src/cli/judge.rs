//! `squall judge` and `squall report`: a run again, from its record alone.

use std::path::{Path, PathBuf};

use squall::judge::{self, Summary, Verdict};
use squall::record::Record;
use squall::report::{self, Judged, Sheet};
use squall::run::{judge_folder, plan_in};
use squall::say;

use super::exit::Exit;
use super::run::{exit_of, style};

/// Which record.
#[derive(Debug, clap::Args)]
pub struct JudgeArgs {
    /// Folder of the run (or its record.jsonl), or of a series.
    record: PathBuf,
    /// Print result.json instead of the summary.
    #[arg(long)]
    json: bool,
}

/// Judges again; exits as the run did.
pub fn judge(args: JudgeArgs) -> anyhow::Result<Exit> {
    if plan_in(&args.record)?.is_some() {
        return show(&judge_folder(&args.record, None)?, &args.record, args.json);
    }
    let again = Again::load(&args.record)?;
    let judged = again.judged();
    if args.json {
        say::out(String::from_utf8_lossy(&report::json(&judged)?))?;
    } else {
        let dir = folder(&args.record);
        let style = style(&std::io::stdout());
        say::out(report::terminal(&judged, style, Some(dir)))?;
    }
    Ok(exit_of(&judged))
}

/// Prints a series judged again; exits as it did.
fn show(sheet: &Sheet, dir: &Path, json: bool) -> anyhow::Result<Exit> {
    if json {
        say::out(String::from_utf8_lossy(&sheet.json()?))?;
    } else {
        let style = style(&std::io::stdout());
        say::out(sheet.terminal(style, Some(dir)))?;
    }
    Ok(Exit::of(sheet.overall()))
}

/// Which record, and where to.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Folder of the run (or its record.jsonl), or of a series.
    record: PathBuf,
    /// Write the files here instead of into the run's folder.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Writes the report files again.
pub fn report(args: ReportArgs) -> anyhow::Result<Exit> {
    if plan_in(&args.record)?.is_some() {
        let out = args.out.as_deref().unwrap_or(&args.record);
        std::fs::create_dir_all(out)?;
        for path in judge_folder(&args.record, None)?.write(out)? {
            say::out(format_args!("{}\n", path.display()))?;
        }
        return Ok(Exit::Pass);
    }
    let again = Again::load(&args.record)?;
    let out = args.out.as_deref().unwrap_or(folder(&args.record));
    std::fs::create_dir_all(out)?;
    for path in report::write_all(out, &again.judged())? {
        say::out(format_args!("{}\n", path.display()))?;
    }
    Ok(Exit::Pass)
}

/// A record, judged again.
struct Again {
    record: Record,
    summary: Summary,
    verdicts: Vec<Verdict>,
}

impl Again {
    fn load(path: &Path) -> anyhow::Result<Self> {
        let record = Record::load(path)?;
        Ok(Self {
            summary: judge::summarize(&record),
            verdicts: judge::judge(&record),
            record,
        })
    }

    fn judged(&self) -> Judged<'_> {
        Judged {
            record: &self.record,
            summary: &self.summary,
            verdicts: &self.verdicts,
        }
    }
}

/// The run's folder, also where its record.jsonl was named.
fn folder(record: &Path) -> &Path {
    match record.parent() {
        Some(parent) if record.is_file() => parent,
        _ => record,
    }
}
