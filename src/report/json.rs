//! `result.json`: verdicts and summary for programs. The shape is stable; docs/result-format.md describes it.
//!
//! ```json
//! { "format": 1, "verdict": "FAIL", "verdicts": [ ... ], "summary": { ... } }
//! ```
//!
//! `verdict` is the worst of the verdicts, no better than `INCONCLUSIVE` for a run that did not complete, and
//! `null` where the scenario expects nothing. A later version may add fields; one that takes a field away or
//! changes its meaning raises `format`.

use serde::Serialize;

use super::{Judged, Output, ReportError};
use crate::judge::{Ruling, Summary, Verdict};

/// Version of the shape of `result.json`.
pub const FORMAT: u32 = 1;

/// Writes `result.json`.
pub(super) struct Json;

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    verdict: Option<Ruling>,
    verdicts: &'a [Verdict],
    summary: &'a Summary,
}

impl Output for Json {
    fn file_name(&self) -> &'static str {
        "result.json"
    }

    fn render(&self, run: &Judged<'_>) -> Result<Vec<u8>, ReportError> {
        let document = Document {
            format: FORMAT,
            verdict: run.overall(),
            verdicts: run.verdicts,
            summary: run.summary,
        };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(|e| ReportError::Render {
            file: self.file_name(),
            reason: e.to_string(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
