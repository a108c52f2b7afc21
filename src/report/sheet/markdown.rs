//! A sheet as `summary.md`.

use std::fmt::Write;

use super::{Grid, Sheet};
use crate::report::markdown::{capital, escape, mark, verdicts};
use crate::report::phrases;
use crate::report::terminal::quoted;

pub(super) fn render(sheet: &Sheet) -> String {
    let mut out = format!(
        "## {} {}: {}\n\n",
        mark(sheet.overall),
        phrases::overall(sheet.overall),
        escape(&sheet.title)
    );
    if let Some(answer) = &sheet.answer {
        let _ = writeln!(out, "**{}**\n", escape(answer));
    }
    let _ = writeln!(out, "{}.\n", capital(&phrases::tally(&sheet.verdicts)));
    for fact in &sheet.facts {
        let _ = writeln!(out, "{}.\n", escape(&capital(fact)));
    }
    verdicts(&mut out, &sheet.verdicts, 0);
    for grid in &sheet.grids {
        table(&mut out, grid);
    }
    for note in &sheet.notes {
        let _ = writeln!(out, "- {}", escape(note));
    }
    let again: Vec<String> = sheet.again.iter().map(|word| quoted(word)).collect();
    let _ = writeln!(out, "\nAgain: `{}`", again.join(" ").replace('`', "'"));
    out
}

fn table(out: &mut String, grid: &Grid) {
    let head = grid.head.iter().skip(1).map(|h| h.trim_end_matches('?'));
    let _ = writeln!(
        out,
        "| {} |",
        std::iter::once(grid.title)
            .chain(head)
            .collect::<Vec<_>>()
            .join(" | ")
    );
    let _ = writeln!(out, "| --- |{}", " ---: |".repeat(grid.head.len() - 1));
    for row in &grid.rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push('\n');
}
