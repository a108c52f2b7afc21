//! `squall judge` and `squall report`: a run again, from its record alone.

use std::path::PathBuf;

use squall::judge;
use squall::record::Record;
use squall::report::{self, Judged};

use super::exit::Exit;
use super::run::style;

/// Which record.
#[derive(Debug, clap::Args)]
pub struct JudgeArgs {
    /// Folder of the run (or its record.jsonl).
    record: PathBuf,
    /// Print result.json instead of the summary.
    #[arg(long)]
    json: bool,
}

/// Judges again; exits as the run did.
pub fn judge(args: JudgeArgs) -> anyhow::Result<Exit> {
    let record = Record::load(&args.record)?;
    let summary = judge::summarize(&record);
    let verdicts = judge::judge(&record);
    let judged = Judged {
        record: &record,
        summary: &summary,
        verdicts: &verdicts,
        dir: &args.record,
    };
    if args.json {
        use std::io::Write;
        std::io::stdout().write_all(&report::json(&judged)?)?;
    } else {
        print!("{}", report::terminal(&judged, style(&std::io::stdout())));
    }
    Ok(super::run::exit_of(&record, &verdicts))
}

/// Which record, and where to.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Folder of the run (or its record.jsonl).
    record: PathBuf,
    /// Write the files here instead of into the run's folder.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Writes the report files again.
pub fn report(args: ReportArgs) -> anyhow::Result<Exit> {
    let record = Record::load(&args.record)?;
    let summary = judge::summarize(&record);
    let verdicts = judge::judge(&record);
    let folder = if args.record.is_dir() {
        args.record.clone()
    } else {
        args.record.parent().unwrap_or(&args.record).to_path_buf()
    };
    let judged = Judged {
        record: &record,
        summary: &summary,
        verdicts: &verdicts,
        dir: &folder,
    };
    let out = args.out.as_ref().unwrap_or(&folder);
    std::fs::create_dir_all(out)?;
    for path in report::write_all(out, &judged)? {
        println!("{}", path.display());
    }
    Ok(Exit::Pass)
}
