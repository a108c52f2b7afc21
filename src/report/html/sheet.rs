//! The page of a result of several runs.

use std::fmt::Write;

use super::escape::esc;
use super::page::{close, figure, open, title, verdicts};
use super::sections::{self, Cell};
use crate::report::Sheet;
use crate::report::terminal::quoted;

/// The page.
pub(in crate::report) fn sheet(sheet: &Sheet) -> Result<String, String> {
    let mut out = open(&sheet.title, sheet.overall);
    title(
        &mut out,
        sheet.overall,
        &sheet.title,
        sheet.answer.as_deref(),
    );
    let facts: Vec<String> = sheet.facts.iter().map(|f| esc(f)).collect();
    let facts = facts.join("</span><span>");
    let _ = writeln!(
        out,
        r#"<p class="facts"><span>{facts}</span></p></div></header>"#
    );
    out.push_str("<main>\n");
    verdicts(&mut out, &sheet.verdicts, 0);
    if !sheet.charts.is_empty() {
        out.push_str("<section><div class=\"charts\">\n");
        for chart in &sheet.charts {
            figure(&mut out, chart)?;
        }
        out.push_str("</div></section>\n");
    }
    for (i, grid) in sheet.grids.iter().enumerate() {
        sections::open(&mut out, &format!("grid-{i}"), &capital(grid.title));
        let head: Vec<&str> = grid.head.iter().map(|h| h.trim_end_matches('?')).collect();
        let rows = grid.rows.iter().map(|row| {
            let cells = row.iter().cloned().enumerate();
            let cell = |(i, text)| match i {
                0 => Cell::Text(text),
                _ => Cell::Number(text),
            };
            cells.map(cell).collect()
        });
        sections::table(&mut out, &head, rows.collect());
        sections::close(&mut out);
    }
    if !sheet.notes.is_empty() {
        sections::open(&mut out, "notes", "Notes");
        for note in &sheet.notes {
            let _ = writeln!(out, "<p>{}</p>", esc(note));
        }
        sections::close(&mut out);
    }
    out.push_str("</main>\n");
    let again: Vec<String> = sheet.again.iter().map(|word| quoted(word)).collect();
    close(
        &mut out,
        &format!(
            "Made by squall {} from the records of the runs. Judge them again: <code>{}</code>",
            env!("CARGO_PKG_VERSION"),
            esc(&again.join(" "))
        ),
    );
    Ok(out)
}

fn capital(text: &str) -> String {
    esc(&crate::report::markdown::capital(text))
}
