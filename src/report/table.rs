//! Text for a terminal: columns that line up, lines that fit, colours only where wanted, nothing hostile.

use anstyle::{AnsiColor, Style as Ansi};

use crate::judge::Ruling;

/// How text for a terminal is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
    /// Columns of the terminal.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            color: false,
            width: 80,
        }
    }
}

/// What a piece of text is, so that its colour is chosen in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Title,
    Quiet,
    Good,
    Bad,
    Unsure,
}

impl Tone {
    pub(super) fn of(ruling: Ruling) -> Self {
        match ruling {
            Ruling::Pass => Tone::Good,
            Ruling::Inconclusive => Tone::Unsure,
            Ruling::Fail => Tone::Bad,
        }
    }
}

impl Style {
    /// The width that lines are laid out for: a tiny or absurd terminal still gets a sane one.
    pub(super) fn columns(self) -> usize {
        self.width.clamp(40, 160)
    }
    /// Colours a piece of text that has its final width already.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let ansi = match tone {
            _ if !self.color => return text.to_string(),
            Tone::Plain => return text.to_string(),
            Tone::Title => Ansi::new().bold(),
            Tone::Quiet => Ansi::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default().bold(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Unsure => AnsiColor::Yellow.on_default().bold(),
        };
        format!("{ansi}{text}{ansi:#}")
    }
}

/// Text from outside on one line: names and samples may hold escape sequences and line breaks that would
/// rewrite the screen.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            // Bidirectional overrides reorder what a reader sees.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Cuts text to a width, marking the cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Breaks text into lines of at most `width`; a word that is longer is broken too.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in glued(text) {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        used += word.len();
        line.extend(word);
    }
    if used > 0 || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// The words of a text; a number and its unit are one.
fn glued(text: &str) -> Vec<String> {
    const UNITS: [&str; 9] = ["us", "ms", "s", "min", "B", "KiB", "MiB", "GiB", "TiB"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = word.trim_end_matches([',', ';', '.', ':', ')']);
        match words.last_mut() {
            Some(last) if UNITS.contains(&unit) && last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_string()),
        }
    }
    words
}

/// A table: the first column is left-aligned and gives way where width is short, the others are right-aligned. A
/// column whose name ends with `?` may be left out on a narrow terminal.
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|h| h.to_string()).collect(),
            rows: Vec::new(),
        }
    }
    pub(super) fn row(&mut self, cells: Vec<(Tone, String)>) {
        self.rows.push(cells);
    }
    /// The lines. `lead` is the least width of the first column, so that tables below each other line up.
    pub(super) fn lines(&self, style: Style, lead: usize) -> Vec<String> {
        let mut widths: Vec<usize> = self.head.iter().map(|h| name(h).chars().count()).collect();
        for row in &self.rows {
            for (width, (_, cell)) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut shown: Vec<usize> = (0..self.head.len()).collect();
        let others = |shown: &[usize]| shown.iter().skip(1).map(|i| widths[*i] + 2).sum::<usize>();
        while others(&shown) + LEAST > style.columns() {
            let Some(at) = shown.iter().position(|i| self.head[*i].ends_with('?')) else {
                break;
            };
            shown.remove(at);
        }
        let room = style.columns().saturating_sub(others(&shown)).max(LEAST);
        if let Some(first) = widths.first_mut() {
            *first = (*first).max(lead).min(room);
        }
        let head = self.head.iter().enumerate().map(|(i, h)| {
            let tone = if i == 0 { Tone::Title } else { Tone::Quiet };
            (tone, name(h).to_string())
        });
        let head: Vec<_> = head.collect();
        let mut lines = vec![line(style, &widths, &shown, &head)];
        let rows = self.rows.iter();
        lines.extend(rows.map(|row| line(style, &widths, &shown, row)));
        lines
    }
}

/// The first column is never narrower.
const LEAST: usize = 14;

/// A column's name without its mark.
fn name(head: &str) -> &str {
    head.trim_end_matches('?')
}

fn line(style: Style, widths: &[usize], shown: &[usize], cells: &[(Tone, String)]) -> String {
    let mut out = String::new();
    for i in shown.iter().copied() {
        let Some((tone, cell)) = cells.get(i) else {
            continue;
        };
        let text = cut(cell, widths[i]);
        let pad = " ".repeat(widths[i].saturating_sub(text.chars().count()));
        let painted = style.paint(*tone, &text);
        if i == 0 {
            out.push_str(&painted);
            out.push_str(&pad);
        } else {
            out.push_str("  ");
            out.push_str(&pad);
            out.push_str(&painted);
        }
    }
    out.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_fit_and_lose_nothing() {
        let text = "a sentence with averyveryverylongwordthatcannotfit in the middle";
        let lines = wrap(text, 12);
        assert!(lines.iter().all(|l| l.chars().count() <= 12), "{lines:?}");
        let squeezed = |t: &str| t.replace(' ', "");
        assert_eq!(squeezed(&lines.concat()), squeezed(text));
        assert_eq!(wrap("", 20), [""]);
        assert_eq!(wrap("restored +2 s; fine", 12), ["restored", "+2 s; fine"]);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let text = clean("ok\u{1b}[2Jgone\nnext\u{202e}");
        assert_eq!(text, "ok\u{fffd}[2Jgone next\u{fffd}");
    }

    #[test]
    fn a_long_first_column_gives_way() {
        let mut table = Table::new(&["step", "requests"]);
        table.row(vec![
            (Tone::Plain, "x".repeat(200)),
            (Tone::Plain, "12".into()),
        ]);
        let style = Style {
            color: false,
            width: 50,
        };
        for line in table.lines(style, 0) {
            assert!(line.chars().count() <= 50, "{line}");
        }
    }
}
