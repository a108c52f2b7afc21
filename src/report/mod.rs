//! Reports: what a judged run looks like to a person and to a machine.
//!
//! One file per output. A report only shows: verdicts and the summary come from `judge`, curves come straight from
//! the record's seconds, and nothing here decides whether a run was good. No network, no clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::judge::{self, Ruling, Summary, Verdict};
use crate::record::Record;

#[cfg(test)]
mod fixture;
mod html;
mod json;
mod junit;
mod live;
mod markdown;
mod phrases;
mod plots;
mod series;
mod sheet;
mod table;
mod terminal;

pub use json::FORMAT as RESULT_FORMAT;
pub use live::{LiveDisplay, LiveState};
pub use sheet::{Kind, Sheet};
pub use table::Style;
pub use terminal::terminal;

/// A run with its judgement: all that a report works from.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// What happened.
    pub record: &'a Record,
    /// The same in numbers.
    pub summary: &'a Summary,
    /// What it means, in the order of the scenario's expectations.
    pub verdicts: &'a [Verdict],
}

impl Judged<'_> {
    /// The verdict over all; `None` where nothing was judged.
    pub fn overall(&self) -> Option<Ruling> {
        judge::overall(self.verdicts, self.summary.ended.as_ref())
    }
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder or the disk says no.
    #[error("cannot write the report {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The output could not be built.
    #[error("cannot build {file}: {reason}")]
    Render {
        /// The output's file name.
        file: &'static str,
        /// The reason.
        reason: String,
    },
}

/// One output file.
pub trait Output {
    /// Its name in the run's folder.
    fn file_name(&self) -> &'static str;
    /// Its content.
    fn render(&self, run: &Judged<'_>) -> Result<Vec<u8>, ReportError>;
}

/// Every output file of a run. A new one is a new file beside this one, and one line here.
pub fn outputs() -> Vec<Box<dyn Output>> {
    vec![
        Box::new(json::Json),
        Box::new(html::Html),
        Box::new(junit::JUnit),
        Box::new(markdown::Markdown),
    ]
}

/// `result.json` as bytes.
pub fn json(run: &Judged<'_>) -> Result<Vec<u8>, ReportError> {
    json::Json.render(run)
}

/// Writes every output into a folder, which must exist. One that fails does not keep the others from being
/// written; the first failure is the answer then.
pub fn write_all(dir: &Path, run: &Judged<'_>) -> Result<Vec<PathBuf>, ReportError> {
    let results: Vec<_> = outputs()
        .iter()
        .map(|output| write(dir, output.as_ref(), run))
        .collect();
    results.into_iter().collect()
}

fn write(dir: &Path, output: &dyn Output, run: &Judged<'_>) -> Result<PathBuf, ReportError> {
    place(dir, output.file_name(), output.render(run)?)
}

/// Writes a file beside its place and moves it there, so that a full disk never leaves half a file under the name
/// that a CI job reads.
fn place(dir: &Path, name: &str, bytes: Vec<u8>) -> Result<PathBuf, ReportError> {
    let path = dir.join(name);
    let part = dir.join(format!(".{name}.part"));
    let done = fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path));
    done.map_err(|source| {
        // Best effort: the write's own error is the one to tell.
        let _ = fs::remove_file(&part);
        ReportError::Write {
            path: path.clone(),
            source,
        }
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests;
