//! Results of several runs: a comparison, a series, a capacity. Each becomes a [`Sheet`], plain data in words, and a
//! sheet is shown in every way there is, so that a new kind of result is one file here.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::json::FORMAT;
use super::junit::{self, Suite};
use super::plots::Chart;
use super::{ReportError, Style, html, phrases, place};
use crate::judge::{Ruling, Verdict};

mod capacity;
mod compare;
mod markdown;
mod series;
mod terminal;
#[cfg(test)]
mod tests;

/// What a result is of; the name of its part of `result.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs against runs.
    Comparison,
    /// Runs of one scenario.
    Series,
    /// Runs at one rate after the other.
    Capacity,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Comparison => "comparison",
            Kind::Series => "series",
            Kind::Capacity => "capacity",
        }
    }
}

/// A result in words, ready to be shown.
#[derive(Debug, Clone)]
pub struct Sheet {
    pub(super) kind: Kind,
    pub(super) title: String,
    /// Where it comes from, in a line.
    pub(super) facts: Vec<String>,
    /// The answer in one sentence, where there is more to say than the verdict.
    pub(super) answer: Option<String>,
    pub(super) grids: Vec<Grid>,
    pub(super) charts: Vec<Chart>,
    /// What a reader should know besides.
    pub(super) notes: Vec<String>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) overall: Option<Ruling>,
    /// The command that judges it again.
    pub(super) again: Vec<String>,
    /// The same in numbers, for `result.json`.
    pub(super) detail: serde_json::Value,
}

/// A table; the first cell of a row is its name.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub title: &'static str,
    /// As for a terminal's table: a column that may be left out ends with `?`.
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    kind: &'static str,
    verdict: Option<Ruling>,
    verdicts: &'a [Verdict],
    #[serde(flatten)]
    detail: serde_json::Map<String, serde_json::Value>,
}

impl Sheet {
    /// The verdict over all; `None` where nothing was judged.
    pub fn overall(&self) -> Option<Ruling> {
        self.overall
    }

    /// For a terminal; with the folder given it ends with where the page is.
    pub fn terminal(&self, style: Style, dir: Option<&Path>) -> String {
        terminal::render(self, style, dir)
    }

    /// `result.json` as bytes.
    pub fn json(&self) -> Result<Vec<u8>, ReportError> {
        let detail = [(self.kind.name().to_string(), self.detail.clone())];
        let document = Document {
            format: FORMAT,
            kind: self.kind.name(),
            verdict: self.overall,
            verdicts: &self.verdicts,
            detail: detail.into_iter().collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(|e| ReportError::Render {
            file: "result.json",
            reason: e.to_string(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Writes every file of it into a folder, which must exist.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let page = html::sheet(self).map_err(|reason| ReportError::Render {
            file: "report.html",
            reason,
        })?;
        let markdown = markdown::render(self);
        let junit = junit::suite(&Suite {
            name: &self.title,
            verdicts: &self.verdicts,
            zero: 0,
            length: 0.0,
            attributes: Vec::new(),
            properties: vec![
                ("kind", self.kind.name().to_string()),
                ("verdict", phrases::overall(self.overall).to_string()),
            ],
            broken: None,
        });
        [
            place(dir, "result.json", self.json()?),
            place(dir, "junit.xml", junit.into_bytes()),
            place(dir, "summary.md", markdown.into_bytes()),
            place(dir, "report.html", page.into_bytes()),
        ]
        .into_iter()
        .collect()
    }
}

/// Numbers for `result.json`.
fn detail(of: &impl Serialize) -> serde_json::Value {
    // Plain data with string keys: it always becomes a value.
    serde_json::to_value(of).unwrap_or_default()
}
