//! `report.html`: the whole run on one page, one file, no request off it.
//!
//! `page.rs` is the order of the page, `sections.rs` the tables, `sheet.rs` the page of several runs, `escape.rs` what keeps hostile names and samples
//! text. Style and script are in `src/report/assets/` and are built in.

mod escape;
mod page;
mod sections;
mod sheet;

use super::{Judged, Output, ReportError};

pub(super) use sheet::sheet;

/// Writes `report.html`.
pub(super) struct Html;

impl Output for Html {
    fn file_name(&self) -> &'static str {
        "report.html"
    }

    fn render(&self, run: &Judged<'_>) -> Result<Vec<u8>, ReportError> {
        page::page(run)
            .map(String::into_bytes)
            .map_err(|reason| ReportError::Render {
                file: self.file_name(),
                reason,
            })
    }
}
