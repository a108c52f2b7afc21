//! A sheet for a terminal: the verdicts last, where the eye is.

use std::path::Path;

use super::Sheet;
use crate::report::phrases;
use crate::report::table::{Style, Table, Tone, clean};
use crate::report::terminal::{Page, ending, fact, replay, title, verdicts};

pub(super) fn render(sheet: &Sheet, style: Style, dir: Option<&Path>) -> String {
    let mut out = Page::new(style);
    title(&mut out, &sheet.title);
    for text in &sheet.facts {
        fact(&mut out, text);
    }
    for grid in &sheet.grids {
        let mut head = vec![grid.title];
        head.extend(grid.head.iter().skip(1));
        let mut table = Table::new(&head);
        for row in &grid.rows {
            let cells = row.iter().enumerate();
            let cell = |(i, text): (usize, &String)| match i {
                0 => (Tone::Plain, format!("  {}", clean(text))),
                _ => (Tone::Plain, clean(text)),
            };
            table.row(cells.map(cell).collect());
        }
        out.table(&table);
    }
    if !sheet.notes.is_empty() {
        out.section();
        for note in &sheet.notes {
            out.beside(2, "- ", Tone::Unsure, note);
        }
    }
    verdicts(&mut out, &sheet.verdicts, 0);
    if let Some(answer) = &sheet.answer {
        out.section();
        out.beside(8, "answer", Tone::Title, answer);
    }
    ending(
        &mut out,
        sheet.overall,
        &phrases::tally(&sheet.verdicts),
        dir,
    );
    replay(&mut out, sheet.overall, &sheet.again);
    out.text()
}
